SELECT dataset_id, 'raw' AS kind FROM summit.raw UNION ALL SELECT dataset_id, 'bias' FROM bias
ORDER BY dataset_id LIMIT 10

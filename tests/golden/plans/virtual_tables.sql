SELECT t.name, t.held_by, t.lag_s FROM federation.tables t WHERE t.kind = 'dataset_type' AND t.rows > 0 ORDER BY t.name

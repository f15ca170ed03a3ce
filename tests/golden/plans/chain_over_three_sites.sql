SELECT dataset_id, run FROM dataset WHERE dataset_type = 'raw' AND ingest_date > '2026-01-31 12:00:00'

SELECT dataset_id, seeing FROM raw WHERE exposure = 1500

-- partial; down: summit
SELECT dataset_id, origin FROM dataset WHERE run = 'x'

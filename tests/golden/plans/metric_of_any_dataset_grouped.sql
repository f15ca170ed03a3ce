-- chain: alice
SELECT d.dataset_type, max(seeing) AS worst FROM dataset d GROUP BY d.dataset_type HAVING max(seeing) > 2

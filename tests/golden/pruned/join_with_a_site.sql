SELECT r.dataset_id, l.note FROM raw r JOIN south.log l ON l.instrument = r.instrument AND l.exposure = r.exposure

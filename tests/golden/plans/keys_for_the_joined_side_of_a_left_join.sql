SELECT b.run, b.detector, r.exposure FROM base.bias b
LEFT JOIN summit.raw r ON r.detector = b.detector AND r.instrument = b.instrument

SELECT date_trunc('hour', timespan_begin) AS hour, extract(epoch FROM timespan_end - timespan_begin) AS seconds
FROM ncsa.visit WHERE timespan_overlaps(timespan_begin, timespan_end, '2026-01-01', NULL)
AND timespan_end < timespan_begin + INTERVAL '40 seconds'

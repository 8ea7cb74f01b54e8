-- BG/NBD (Fader, Hardie & Lee 2005, doi:10.1287/mksc.1040.0098): while alive, a customer buys at a
-- random pace of their own; after each purchase they may leave for good. In the paper's letters, in
-- weeks: x purchase days after the first one, the last of them t_x after the first, now T after it.
WITH history AS (
    SELECT row_id, count(*) FILTER (gap > 0) AS x,
           (max(days_ago) - min(days_ago)) / 7 AS t_x, max(days_ago) / 7 AS t
    FROM past_orders
    GROUP BY row_id
),
-- The paper's parameters, fitted to the CDNOW log. Fitting them to this log would need care that no
-- later purchase takes part; and what counts here is who ranks above whom.
population AS (
    SELECT 0.243 AS r, 4.414 AS alpha, 0.793 AS a, 2.426 AS b,
           CAST(getvariable('horizon_days') AS DOUBLE) / 7 AS horizon
)
SELECT row_id,
       -- who never came back has had no occasion to leave
       CASE WHEN x = 0 THEN 1
       ELSE 1 / (1 + a / (b + x - 1) * pow((alpha + t) / (alpha + t_x), r + x))
       END
       -- of those alive, the share whose next purchase comes within the horizon
       * (1 - pow((alpha + t) / (alpha + t + horizon), r + x)) AS buy_probability
FROM history CROSS JOIN population

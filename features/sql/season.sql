-- The window that the label will cover, 365 days earlier; and the as-of date's place in the year.
WITH log AS (
    SELECT as_of, min(invoiced_at) FILTER (WHERE invoiced_at < as_of) AS first_at
    FROM (SELECT DISTINCT as_of FROM spine), (SELECT DISTINCT invoiced_at FROM moments)
    GROUP BY as_of
),
last_year AS (
    SELECT customer_id, as_of, count(*) AS orders, sum(cents) / 100 AS revenue
    FROM past_orders
    WHERE ordered_at >= as_of - INTERVAL 365 DAY
      AND ordered_at < as_of - INTERVAL 365 DAY + to_days(CAST(getvariable('horizon_days') AS INTEGER))
    GROUP BY customer_id, as_of
)
SELECT customer_id, as_of,
       CASE WHEN CAST(first_at AS DATE) <= as_of - 365 THEN coalesce(orders, 0) END AS season_orders,
       CASE WHEN CAST(first_at AS DATE) <= as_of - 365 THEN coalesce(revenue, 0) END AS season_revenue,
       round(sin(2 * pi() * dayofyear(as_of) / 365.25), 9) AS year_sin,
       round(cos(2 * pi() * dayofyear(as_of) / 365.25), 9) AS year_cos
FROM spine JOIN log USING (as_of) LEFT JOIN last_year USING (customer_id, as_of)

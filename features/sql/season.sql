-- The window that the label will cover, 365 days earlier; and the as-of date's place in the year.
WITH last_year AS (
    SELECT row_id, sum(orders) AS orders, sum(cents) / 100 AS revenue
    FROM past_orders
    WHERE days_ago <= 365 AND days_ago > 365 - CAST(getvariable('horizon_days') AS INTEGER)
    GROUP BY row_id
)
SELECT row_id,
       CASE WHEN first_day <= as_of - 365 THEN coalesce(orders, 0) END AS season_orders,
       CASE WHEN first_day <= as_of - 365 THEN coalesce(revenue, 0) END AS season_revenue,
       round(sin(2 * pi() * dayofyear(as_of) / 365.25), 9) AS year_sin,
       round(cos(2 * pi() * dayofyear(as_of) / 365.25), 9) AS year_cos
FROM spine_part CROSS JOIN log_start LEFT JOIN last_year USING (row_id)

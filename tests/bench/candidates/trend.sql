-- The last 90 days against the 90 before, and the last half year against the one before.
WITH counts AS (
    SELECT row_id,
           coalesce(sum(orders) FILTER (days_ago <= 90), 0) AS near,
           coalesce(sum(orders) FILTER (days_ago BETWEEN 91 AND 180), 0) AS before,
           coalesce(sum(orders) FILTER (days_ago <= 180), 0) AS near_half,
           coalesce(sum(orders) FILTER (days_ago BETWEEN 181 AND 365), 0) AS before_half,
           coalesce(sum(cents) FILTER (days_ago <= 90), 0) / 100
             - coalesce(sum(cents) FILTER (days_ago BETWEEN 91 AND 180), 0) / 100 AS revenue_trend
    FROM past_orders
    GROUP BY row_id
)
SELECT row_id, near - before AS orders_trend, revenue_trend,
       (near + 1) / (before + 1) AS orders_trend_ratio,
       (near_half + 1) / (before_half + 1) AS half_year_ratio
FROM counts

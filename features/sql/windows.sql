-- Everything goes by the invoice's first day (days_ago): what was added to it on a later day counts
-- in the windows that hold that first day.
SELECT row_id,
       coalesce(sum(orders) FILTER (days_ago <= 30), 0) AS orders_30d,
       coalesce(sum(orders) FILTER (days_ago <= 60), 0) AS orders_60d,
       coalesce(sum(orders) FILTER (days_ago <= 90), 0) AS orders_90d,
       coalesce(sum(orders) FILTER (days_ago <= 180), 0) AS orders_180d,
       coalesce(sum(orders) FILTER (days_ago <= 365), 0) AS orders_365d,
       sum(orders) AS orders_total,
       coalesce(sum(cents) FILTER (days_ago <= 30), 0) / 100 AS revenue_30d,
       coalesce(sum(cents) FILTER (days_ago <= 60), 0) / 100 AS revenue_60d,
       coalesce(sum(cents) FILTER (days_ago <= 90), 0) / 100 AS revenue_90d,
       coalesce(sum(cents) FILTER (days_ago <= 180), 0) / 100 AS revenue_180d,
       coalesce(sum(cents) FILTER (days_ago <= 365), 0) / 100 AS revenue_365d,
       sum(cents) / 100 AS revenue_total,
       sum(cents) / sum(orders) / 100 AS order_value_mean,
       arg_max(cents_so_far, place) / 100 AS order_value_last,
       coalesce(bit_count(bit_or(month_bit) FILTER (days_ago <= 365)), 0) AS active_months_365d
FROM past_orders
GROUP BY row_id

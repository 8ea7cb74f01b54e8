-- A window of n days is [as_of - n, as_of): the day of the as-of date itself lies in the future.
SELECT customer_id, as_of,
       count(*) FILTER (WHERE day >= as_of - 30) AS orders_30d,
       count(*) FILTER (WHERE day >= as_of - 60) AS orders_60d,
       count(*) FILTER (WHERE day >= as_of - 90) AS orders_90d,
       count(*) FILTER (WHERE day >= as_of - 180) AS orders_180d,
       count(*) FILTER (WHERE day >= as_of - 365) AS orders_365d,
       count(*) AS orders_total,
       coalesce(sum(cents) FILTER (WHERE day >= as_of - 30), 0) / 100 AS revenue_30d,
       coalesce(sum(cents) FILTER (WHERE day >= as_of - 60), 0) / 100 AS revenue_60d,
       coalesce(sum(cents) FILTER (WHERE day >= as_of - 90), 0) / 100 AS revenue_90d,
       coalesce(sum(cents) FILTER (WHERE day >= as_of - 180), 0) / 100 AS revenue_180d,
       coalesce(sum(cents) FILTER (WHERE day >= as_of - 365), 0) / 100 AS revenue_365d,
       sum(cents) / 100 AS revenue_total,
       sum(cents) / count(*) / 100 AS order_value_mean,
       arg_max(cents, (ordered_at, invoice_id)) / 100 AS order_value_last,
       count(DISTINCT date_trunc('month', day)) FILTER (WHERE day >= as_of - 365)
         AS active_months_365d
FROM past_orders
GROUP BY customer_id, as_of

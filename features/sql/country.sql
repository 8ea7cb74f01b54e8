-- arg_max passes over invoices without a country.
SELECT customer_id, as_of,
       CAST(
           coalesce(
               arg_max(country, (ordered_at, invoice_id)) = getvariable('home_country'), false
           ) AS INTEGER
       ) AS is_home
FROM past_orders
GROUP BY customer_id, as_of

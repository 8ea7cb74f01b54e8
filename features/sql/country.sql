-- arg_max passes over invoices without a country.
SELECT row_id,
       CAST(
           coalesce(arg_max(country, place) = getvariable('home_country'), false) AS INTEGER
       ) AS is_home
FROM past_orders
GROUP BY row_id

-- The spine in the order of the table: row_id. `spine` is one row per customer and as-of date;
-- date_number counts the as-of dates from 0, the earliest.
SELECT row_number() OVER (ORDER BY as_of, customer_id) AS row_id, customer_id, as_of,
       CAST(dense_rank() OVER (ORDER BY as_of) - 1 AS INTEGER) AS date_number
FROM spine

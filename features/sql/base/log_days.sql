-- Which products a customer had bought, without comparing all lines with all as-of dates: each day
-- of the log gets a bit per as-of date that sees it, and the bits of a product's days are put
-- together. A product bought on ten days still counts once.
--
-- With the as-of dates 0: 2024-03-01, 1: 2024-06-01 and 2: 2025-05-01:
--
--     anna bought P1 on     seen_365d   seen_from   because
--     2024-02-10            110         0           every date sees it; of 2 it is 446 days ago
--     2024-05-20            011         1           0 comes before it; of 2 it is 346 days ago
--     both together         111         0           bit_or and min: in the last 365 days of every
--                                                   date, and in products_total from date 0 on
WITH dates AS (SELECT DISTINCT as_of, date_number FROM numbered_spine),
none AS (SELECT bitstring('0', CAST(greatest(count(*), 1) AS INTEGER)) AS bits FROM dates)
SELECT day,
       bit_or(set_bit(bits, date_number, 1)) FILTER (day >= as_of - 365) AS seen_365d,
       min(date_number) AS seen_from  -- and by every later date
FROM (SELECT DISTINCT CAST(invoiced_at AS DATE) AS day FROM transactions)
JOIN dates ON day < as_of CROSS JOIN none
GROUP BY day

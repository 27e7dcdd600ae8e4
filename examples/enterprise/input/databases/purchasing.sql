CREATE TABLE IF NOT EXISTS orders (
    number TEXT PRIMARY KEY, vendor TEXT NOT NULL, currency TEXT NOT NULL, total TEXT NOT NULL,
    status TEXT NOT NULL);
INSERT INTO orders VALUES
    ('PO-1001', 'Paper and Print Ltd', 'EUR', '480.00', 'open'),
    ('PO-1002', 'Hall Machines GmbH', 'EUR', '18400.00', 'open'),
    ('PO-1003', 'Clean Rooms BV', 'EUR', '900.00', 'open');

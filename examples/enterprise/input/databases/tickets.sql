CREATE TABLE IF NOT EXISTS tickets (
    id TEXT PRIMARY KEY, server TEXT NOT NULL, title TEXT NOT NULL, status TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS comments (
    comment INTEGER PRIMARY KEY, ticket TEXT NOT NULL, text TEXT NOT NULL);
INSERT INTO tickets VALUES
    ('INC-12340', 'prod-web-01', 'Slow answers', 'open'),
    ('INC-12342', 'prod-web-01', 'Errors behind the load balancer', 'open'),
    ('INC-12345', 'prod-web-01', 'High CPU on prod-web-01', 'open'),
    ('INC-12301', 'prod-web-01', 'Disk almost full', 'closed'),
    ('INC-12350', 'prod-web-02', 'High CPU on prod-web-02', 'open'),
    ('INC-12351', 'prod-web-03', 'High CPU on prod-web-03', 'open'),
    ('INC-12360', 'prod-app-01', 'CPU at its limit', 'open'),
    ('INC-12370', 'prod-app-02', 'A single slow page', 'open'),
    ('INC-12380', 'prod-db-01', 'Memory alarm on prod-db-01', 'open');

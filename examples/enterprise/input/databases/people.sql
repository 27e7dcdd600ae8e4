CREATE TABLE IF NOT EXISTS accounts (
    login TEXT PRIMARY KEY, role TEXT NOT NULL, mfa INTEGER NOT NULL, employed INTEGER NOT NULL,
    last_login TEXT NOT NULL);
INSERT INTO accounts VALUES
    ('ann', 'admin', 1, 1, '2026-11-20'), ('bob', 'admin', 0, 1, '2026-11-19'),
    ('cem', 'user', 1, 1, '2026-11-22'), ('dora', 'user', 1, 0, '2026-11-02'),
    ('eli', 'user', 0, 1, '2026-02-01');

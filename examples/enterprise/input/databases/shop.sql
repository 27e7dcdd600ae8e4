CREATE TABLE IF NOT EXISTS customers (id TEXT PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL);
INSERT INTO customers VALUES
    ('C-1', 'Harbour Bikes', 'NL'), ('C-2', 'Alpine Tools', 'CH'),
    ('C-3', 'Fenland Books', 'GB'), ('C-4', 'Prairie Foods', 'US');

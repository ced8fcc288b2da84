package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const schema = `
CREATE TABLE IF NOT EXISTS shop_products (
	sku     TEXT PRIMARY KEY,
	name    TEXT NOT NULL CHECK (name <> ''),
	version INTEGER NOT NULL -- counts the changes, from 1
)`

// save changes a product, or makes one.
const save = `
INSERT INTO shop_products (sku, name, version) VALUES (?1, ?2, 1)
ON CONFLICT (sku) DO UPDATE SET name = excluded.name, version = version + 1
RETURNING version`

// ask asks for the same at the provider.
const ask = `
INSERT INTO outbox (key, source, kind, op, ref, body, seq) VALUES (?1, ?2, 'product', ?3, ?4, ?5, ?6)`

// Shop is the products of a shop, in the database of Tarn.
type Shop struct {
	db *sql.DB
	// source is the source of Tarn at which products are changed.
	source string
}

// Open opens a shop. Tarn has made the file before.
func Open(ctx context.Context, path, source string) (*Shop, error) {
	// Tarn writes to the file all the time, so a transaction waits for its turn; and it begins
	// as one that writes, or it could not wait once it has read.
	settings := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "synchronous(full)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+settings.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1) // the file has one writer at a time
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &Shop{db, source}, nil
}

// Close closes it.
func (s *Shop) Close() error { return s.db.Close() }

// Save names a product, which is made if there is none. Its change at the provider is asked
// for in the same transaction: both happen, or neither. It returns how often the product has
// changed.
func (s *Shop) Save(ctx context.Context, sku, name string) (version int64, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("save %s: %w", sku, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing is left of it after Commit
	if err := tx.QueryRowContext(ctx, save, sku, name).Scan(&version); err != nil {
		return 0, fmt.Errorf("save %s: %w", sku, err)
	}
	op := "update"
	if version == 1 {
		op = "create"
	}
	number := strconv.FormatInt(version, 10)
	body, err := json.Marshal(map[string]any{"name": name, "metadata": map[string]string{"shop_version": number}})
	if err != nil {
		return 0, fmt.Errorf("save %s: %w", sku, err)
	}
	if _, err := tx.ExecContext(ctx, ask, sku+"@"+number, s.source, op, sku, string(body), version); err != nil {
		return 0, fmt.Errorf("ask for %s: %w", sku, err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("save %s: %w", sku, err)
	}
	return version, nil
}

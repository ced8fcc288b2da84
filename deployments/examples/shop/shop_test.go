package main

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The table as Tarn makes it.
const outbox = `
CREATE TABLE outbox (
	key TEXT PRIMARY KEY, source TEXT NOT NULL, kind TEXT NOT NULL, op TEXT NOT NULL, ref TEXT, id TEXT,
	parents TEXT, body TEXT, bulk INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0)`

func newShop(t *testing.T) *Shop {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tarn.db")
	if _, err := Open(t.Context(), path, "stripe"); err == nil {
		t.Fatal("a file that Tarn has not made was opened")
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), outbox); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// want compares products, and what was asked for, with lines.
func want(t *testing.T, s *Shop, want ...string) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), `
SELECT sku || ' ' || name || ' ' || version FROM shop_products
UNION ALL SELECT key || ' ' || source || ' ' || kind || ' ' || op || ' ' || ref || ' ' || body FROM outbox ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("there is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func put(s *Shop, path, body string) (status int) {
	w := httptest.NewRecorder()
	handler(s).ServeHTTP(w, httptest.NewRequest(http.MethodPut, path, strings.NewReader(body)))
	return w.Code
}

// Each change of a product is asked for, the first as a create.
func TestSave(t *testing.T) {
	s := newShop(t)
	for _, name := range []string{"Teapot", "Pot"} {
		if status := put(s, "/products/sku-1", `{"name": "`+name+`"}`); status != http.StatusOK {
			t.Fatalf("the shop answers %d", status)
		}
	}
	want(t, s,
		"sku-1 Pot 2",
		`sku-1@1 stripe product create sku-1 {"metadata":{"shop_version":"1"},"name":"Teapot"}`,
		`sku-1@2 stripe product update sku-1 {"metadata":{"shop_version":"2"},"name":"Pot"}`,
	)
}

// What fails at any step leaves nothing behind.
func TestNothingIsLeftOfWhatFails(t *testing.T) {
	s := newShop(t)
	for _, body := range []string{`{"name": ""}`, `{`, ``} {
		if status := put(s, "/products/sku-1", body); status != http.StatusBadRequest {
			t.Errorf("the shop answers %d to %q", status, body)
		}
	}
	if _, err := s.Save(t.Context(), "sku-1", ""); err == nil {
		t.Error("a product without a name was saved")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := s.Save(ended, "sku-1", "Teapot"); err == nil {
		t.Error("a product was saved for a client that is gone")
	}
	if _, err := s.db.ExecContext(t.Context(), "INSERT INTO outbox (key, source, kind, op) VALUES ('sku-1@1', 'stripe', 'product', 'create')"); err != nil {
		t.Fatal(err)
	}
	if status := put(s, "/products/sku-1", `{"name": "Teapot"}`); status != http.StatusServiceUnavailable {
		t.Errorf("the shop answers %d to what is asked for already", status)
	}
	if _, err := s.db.ExecContext(t.Context(), "DELETE FROM outbox"); err != nil {
		t.Fatal(err)
	}
	want(t, s)
}

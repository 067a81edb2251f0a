package database

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func open(t *testing.T, directory string) *Database {
	t.Helper()
	d, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func contents(t *testing.T, d *Database, bucket string) string {
	t.Helper()
	var out []string
	if err := d.Each(bucket, func(k string, v []byte) error { out = append(out, k+"="+string(v)); return nil }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestLastChangeOfAKeyWins(t *testing.T) {
	directory := t.TempDir()
	d := open(t, directory)
	d.Put("b", "one", []byte("1"))
	d.Put("b", "two", []byte("2"))
	d.Put("b", "one", []byte("3"))
	d.Delete("b", "two")
	d.Delete("b", "never")
	d.Put("b", "empty", nil)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, directory)
	defer func() { _ = again.Close() }()
	if got := contents(t, again, "b"); got != "empty= one=3" {
		t.Errorf("got %q", got)
	}
	if got := contents(t, again, "other"); got != "" {
		t.Errorf("a bucket nobody wrote holds %q", got)
	}
}

func TestAfterRunsInOrderWhenItsChangesAreOnFile(t *testing.T) {
	d := open(t, t.TempDir())
	defer func() { _ = d.Close() }()
	const n = 200
	var order []int
	done := make(chan struct{})
	for i := range n {
		key := fmt.Sprintf("%04d", i)
		d.Put("b", key, []byte("x"))
		d.After(func() {
			if !strings.Contains(contents(t, d, "b"), key+"=x") {
				t.Errorf("%s is not on file", key)
			}
			if order = append(order, i); len(order) == n {
				close(done)
			}
		})
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("not all functions ran")
	}
	for i, got := range order {
		if got != i {
			t.Fatalf("function %d ran as number %d", got, i)
		}
	}
}

func TestWithoutADirectoryNothingIsKept(t *testing.T) {
	d := open(t, "")
	d.Put("b", "k", []byte("v"))
	var ran atomic.Bool
	d.After(func() { ran.Store(true) })
	if !ran.Load() || d.Keeps() || contents(t, d, "b") != "" {
		t.Error("memory only means that After runs at once and nothing is kept")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseWritesWhatIsLeft(t *testing.T) {
	directory := t.TempDir()
	d := open(t, directory)
	var ran atomic.Int32
	for i := range 50 {
		d.Put("b", fmt.Sprint(i), []byte("x"))
		d.After(func() { ran.Add(1) })
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, directory)
	defer func() { _ = again.Close() }()
	if n := len(strings.Fields(contents(t, again, "b"))); n != 50 || ran.Load() != 50 {
		t.Errorf("%d entries kept, %d functions run", n, ran.Load())
	}
}

// Package database keeps the simulator's state over a restart of the process.
//
// Its rule: changes are applied in the order they were given, many to a transaction, and After runs a function once
// everything given before it is on file. What must not be told to anybody before it would survive goes through After.
// A killed process loses nothing that After has passed; a power cut may (nothing is synced to the disk).
package database

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	fileName = "simulator.db"
	fileMode = 0o600
	// lockWait is how long a start waits for another process to let go of the file.
	lockWait = time.Second
	// pause lets changes gather between two commits: each costs about 0.1 ms, whatever its size.
	pause = 2 * time.Millisecond
)

type change struct {
	bucket string
	key    []byte
	value  []byte // nil deletes
}

// Database is a set of named buckets. Without a directory it keeps nothing and After runs its function at once.
type Database struct {
	file    *bbolt.DB
	mu      sync.Mutex
	wake    *sync.Cond
	changes []change
	after   []func()
	closing bool
	failed  error
	done    chan struct{}
}

// Open opens or creates the database in a directory; an empty directory means memory only.
func Open(directory string) (*Database, error) {
	d := &Database{done: make(chan struct{})}
	d.wake = sync.NewCond(&d.mu)
	if directory == "" {
		close(d.done)
		return d, nil
	}
	path := filepath.Join(directory, fileName)
	file, err := bbolt.Open(path, fileMode, &bbolt.Options{Timeout: lockWait, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another simulator: stop it or choose another --data", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	d.file = file
	go d.run()
	return d, nil
}

// Keeps tells whether anything is kept, so that nobody encodes records for nothing.
func (d *Database) Keeps() bool { return d.file != nil }

// Put sets a key. The value must not be changed afterwards.
func (d *Database) Put(bucket, key string, value []byte) {
	if value == nil {
		value = []byte{}
	}
	d.add(change{bucket, []byte(key), value})
}

// Delete removes a key, present or not.
func (d *Database) Delete(bucket, key string) { d.add(change{bucket: bucket, key: []byte(key)}) }

func (d *Database) add(c change) {
	if d.file == nil {
		return
	}
	d.mu.Lock()
	d.changes = append(d.changes, c)
	d.mu.Unlock()
	d.wake.Signal()
}

// After runs a function, in order with others, once all changes given so far are on file. It never runs when the
// file cannot be written: then nothing that depends on it happens either.
func (d *Database) After(f func()) {
	if d.file == nil {
		f()
		return
	}
	d.mu.Lock()
	d.after = append(d.after, f)
	d.mu.Unlock()
	d.wake.Signal()
}

// Each visits every entry of a bucket in key order; key and value are copies.
func (d *Database) Each(bucket string, visit func(key string, value []byte) error) error {
	if d.file == nil {
		return nil
	}
	return d.file.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error { return visit(string(k), append([]byte(nil), v...)) })
	})
}

// Err tells why the database stopped writing, if it did.
func (d *Database) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Close writes what is left and closes the file.
func (d *Database) Close() error {
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	d.wake.Signal()
	<-d.done
	if d.file == nil {
		return nil
	}
	return errors.Join(d.Err(), d.file.Sync(), d.file.Close())
}

func (d *Database) run() {
	defer close(d.done)
	for {
		changes, after, closing := d.next()
		if len(changes) > 0 {
			if err := d.file.Update(func(tx *bbolt.Tx) error { return apply(tx, changes) }); err != nil {
				d.mu.Lock()
				d.failed = fmt.Errorf("writing the database: %w", err)
				d.mu.Unlock()
				return
			}
		}
		for _, f := range after {
			f()
		}
		if closing && len(changes) == 0 && len(after) == 0 {
			return
		}
		if !closing {
			time.Sleep(pause)
		}
	}
}

func (d *Database) next() ([]change, []func(), bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.changes) == 0 && len(d.after) == 0 && !d.closing {
		d.wake.Wait()
	}
	changes, after := d.changes, d.after
	d.changes, d.after = nil, nil
	return changes, after, d.closing
}

func apply(tx *bbolt.Tx, changes []change) error {
	buckets := map[string]*bbolt.Bucket{}
	for _, c := range changes {
		b := buckets[c.bucket]
		if b == nil {
			var err error
			if b, err = tx.CreateBucketIfNotExists([]byte(c.bucket)); err != nil {
				return err
			}
			buckets[c.bucket] = b
		}
		if c.value == nil {
			if err := b.Delete(c.key); err != nil {
				return err
			}
		} else if err := b.Put(c.key, c.value); err != nil {
			return err
		}
	}
	return nil
}

package signalstore

import (
	"bytes"
	"errors"
	"sort"
	"strings"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// ErrClosed is returned by writes (and by reads that would take the ratchet lock) after Close.
var ErrClosed = errors.New("signalstore: closed")

// Item is one named piece of the state.
type Item struct {
	Name  string
	Value []byte
}

// Change is one change of the state: a new value of an item, or its end.
type Change struct {
	Name      string
	Value     []byte
	Tombstone bool
}

// Journal receives every change in the order in which it was made. Record runs with the store locked: it must not call
// the store and must not wait. ratchetStep is true for changes made while a received message was being decrypted.
type Journal interface {
	Record(change Change, ratchetStep bool)
}

// Options of a store; the zero value is a plain in-memory store.
type Options struct {
	Journal Journal
	// Now tells the time (nil: time.Now); ages of secrets and retry plaintexts follow it.
	Now func() time.Time
	// Decrypted is told the outcome of each decryption, after the ratchet lock was released.
	Decrypted func(err error)
	// Mapping is told each new LID-phone number mapping. It runs with the store locked.
	Mapping func(lid, pn types.JID)
	// WithoutRatchetLock switches the ratchet lock off; for mutation tests only.
	WithoutRatchetLock bool
	// Retries bounds the plaintexts kept for retry receipts, Secrets the message secrets (0: 256 and 2,000).
	Retries, Secrets int
}

// Store is the state of one device. It is safe for concurrent use.
type Store struct {
	opts  Options
	locks ratchetLock

	mu       sync.Mutex
	closed   bool
	items    map[string][]byte
	lidOf    map[string]string   // phone number -> LID, derived from the "l/" items
	migrated map[string]struct{} // phone number users whose sessions were moved to their LID
	uploaded int                 // prekeys the server has, derived from the "p/" items
	retries  aging
	secrets  aging
	timers   aging
	watched  aging
	received []received    // oldest first; not kept over a restart: then age and number decide
	fresh    *store.Device // keys of a device that is not paired yet
	self     []types.JID   // addresses of the paired account, derived from the device
}

var (
	_ store.AllStores       = (*Store)(nil)
	_ store.DeviceContainer = (*Store)(nil)
)

// New makes a store from items (the outcome of a journal, or Store.Items; nil: an unpaired device). The values are kept,
// not copied. Names of foreign items are ignored; a malformed item is an error.
func New(items []Item, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Retries == 0 {
		opts.Retries = 256
	}
	if opts.Secrets == 0 {
		opts.Secrets = 2000
	}
	s := &Store{
		opts:     opts,
		items:    make(map[string][]byte, len(items)),
		lidOf:    make(map[string]string),
		migrated: make(map[string]struct{}),
		retries:  aging{prefix: prefixRetry, limit: opts.Retries, maxAge: retryMaxAge},
		secrets:  aging{prefix: prefixSecret, limit: opts.Secrets, maxAge: secretMaxAge},
		timers:   aging{prefix: prefixTimer, limit: maxTimers, maxAge: neverTooOld},
		watched:  aging{prefix: prefixWatch, limit: maxWatched, maxAge: neverTooOld},
	}
	s.locks.init(opts.WithoutRatchetLock)
	for _, item := range items {
		if !owns(item.Name) {
			continue
		}
		if err := s.admit(item); err != nil {
			return nil, err
		}
		s.items[item.Name] = item.Value
	}
	if b, ok := s.items[itemDevice]; ok {
		d, err := decodeDevice(b)
		if err != nil {
			return nil, err
		}
		s.setSelf(d)
	}
	return s, nil
}

// owns tells whether an item is this package's.
func owns(name string) bool {
	return !strings.HasPrefix(name, "c/") && !strings.HasPrefix(name, "x/")
}

// admit checks a loaded item and derives the indexes from it.
func (s *Store) admit(item Item) error {
	switch {
	case strings.HasPrefix(item.Name, prefixPreKeys):
		block, err := decodeBlock(item.Value)
		if err != nil {
			return err
		}
		s.uploaded += block.uploadedCount()
	case strings.HasPrefix(item.Name, prefixLID):
		s.lidOf[string(item.Value)] = item.Name[len(prefixLID):]
	case strings.HasPrefix(item.Name, prefixRetry):
		s.retries.count++
	case strings.HasPrefix(item.Name, prefixSecret):
		s.secrets.count++
	case strings.HasPrefix(item.Name, prefixTimer):
		s.timers.count++
	case strings.HasPrefix(item.Name, prefixWatch):
		s.watched.count++
	}
	return nil
}

// Close marks the store dead: nothing is journaled any more, every write fails, waiters for the ratchet lock return.
func (s *Store) Close() {
	s.locks.close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// Items is a copy of the state, sorted by name.
func (s *Store) Items() []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Item, 0, len(s.items))
	for name, value := range s.items {
		out = append(out, Item{name, value})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Clear deletes the whole state, each item with a tombstone, and gives the device fresh keys.
func (s *Store) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.items))
	for name := range s.items {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := s.remove(name, false); err != nil {
			return err
		}
	}
	s.fresh, s.self, s.received = nil, nil, nil
	clear(s.lidOf)
	clear(s.migrated)
	s.uploaded, s.retries.count, s.secrets.count = 0, 0, 0
	s.timers.count, s.watched.count = 0, 0
	return nil
}

// put stores a copy of value. Values are never changed in place: journals and readers may share them.
func (s *Store) put(name string, value []byte, step bool) error {
	if s.closed {
		return ErrClosed
	}
	if old, ok := s.items[name]; ok && bytes.Equal(old, value) {
		return nil
	}
	own := append(make([]byte, 0, len(value)), value...)
	s.items[name] = own
	if s.opts.Journal != nil {
		s.opts.Journal.Record(Change{Name: name, Value: own}, step)
	}
	return nil
}

func (s *Store) remove(name string, step bool) error {
	if s.closed {
		return ErrClosed
	}
	if _, ok := s.items[name]; !ok {
		return nil
	}
	delete(s.items, name)
	if s.opts.Journal != nil {
		s.opts.Journal.Record(Change{Name: name, Tombstone: true}, step)
	}
	return nil
}

// removePrefix deletes every item whose name begins with prefix, in the order of names.
func (s *Store) removePrefix(prefix string, step bool) error {
	for _, name := range s.names(prefix) {
		if err := s.remove(name, step); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) names(prefix string) []string {
	var names []string
	for name := range s.items {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func (s *Store) get(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[name]
}

func (s *Store) locked(fn func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fn()
}

// Package contacts is people: real whatsmeow clients that write, read and answer through the simulated WhatsApp.
//
// Its rules: a contact speaks to the server as any other client does, over the same protocol and with real Signal
// sessions; nothing is passed to it by another way. What it decrypted goes into the ledger before its receipt leaves.
// Its keys and sessions are in the database, and since the server tells nobody of a message before that is on file, a
// contact never continues from a state older than what it has said.
package contacts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/signalstore"
	"wharf/connectors/internal/sim/database"
	"wharf/connectors/internal/sim/ledger"
)

const (
	bucketContacts = "contacts"
	bucketState    = "contact_state"
	bucketReplies  = "contact_replies"
	// parallelStarts bounds how many contacts connect at once after a restart.
	parallelStarts = 16
	onlineTime     = 30 * time.Second
)

// ErrUnknown means that a phone number is no contact.
var ErrUnknown = errors.New("no such contact; create it with POST /v1/contacts")

// Options are what contacts need.
type Options struct {
	Scan   func(ctx context.Context, phone, qr string) (types.JID, error) // what their phone does with a QR text
	Name   func(phone, name string)                                       // tells the server a phone's name
	Dial   func(ctx context.Context) (net.Conn, error)                    // reaches the server
	DB     *database.Database
	Ledger *ledger.Ledger
	Now    func() time.Time
	Log    *slog.Logger
}

// Pool is all contacts.
type Pool struct {
	Options
	http *http.Client
	stop context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	mu       sync.Mutex
	contacts map[string]*Contact
}

type contactRecord struct {
	Name      string `json:"name"`
	AutoReply bool   `json:"auto_reply"`
}

// NewPool makes a pool without contacts.
func NewPool(o Options) *Pool {
	stop, end := context.WithCancel(context.Background())
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }
	// The address in whatsmeow is a constant with TLS; DialTLSContext hands it a connection that is already past it.
	transport := &http.Transport{DialTLSContext: dial, DialContext: dial, DisableKeepAlives: true}
	return &Pool{Options: o, http: &http.Client{Transport: transport}, stop: stop, end: end, contacts: map[string]*Contact{}}
}

// Restore brings back the contacts of an earlier process and connects them; it does not wait for their logins.
func (p *Pool) Restore() error {
	items := map[string][]signalstore.Item{}
	err := p.DB.Each(bucketState, func(key string, value []byte) error {
		phone, name, _ := strings.Cut(key, "/")
		items[phone] = append(items[phone], signalstore.Item{Name: name, Value: value})
		return nil
	})
	if err != nil {
		return err
	}
	err = p.DB.Each(bucketContacts, func(phone string, value []byte) error {
		var r contactRecord
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		c, err := p.newContact(phone, r, items[phone])
		if err != nil {
			return fmt.Errorf("contact %s: %w", phone, err)
		}
		p.contacts[phone] = c
		return nil
	})
	if err != nil {
		return err
	}
	err = p.DB.Each(bucketReplies, func(key string, value []byte) error {
		phone, _, _ := strings.Cut(key, "/")
		var r reply
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		if c := p.contacts[phone]; c != nil {
			c.replies.put(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.connectAll()
	return nil
}

func (p *Pool) connectAll() {
	slots := make(chan struct{}, parallelStarts)
	for _, c := range p.List() {
		p.work.Add(1)
		go func() {
			defer p.work.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := c.ensureOnline(p.stop); err != nil && p.stop.Err() == nil {
				p.Log.Warn("contact did not come back", "contact", c.Phone, "error", err)
			}
		}()
	}
}

// Create makes a contact, or changes and reconnects the one there is, and waits until it is online.
func (p *Pool) Create(ctx context.Context, phone, name string, autoReply bool) (*Contact, error) {
	p.Name(phone, name)
	record := contactRecord{cmp.Or(name, "User "+phone), autoReply}
	p.mu.Lock()
	c := p.contacts[phone]
	if c == nil {
		var err error
		if c, err = p.newContact(phone, record, nil); err != nil {
			p.mu.Unlock()
			return nil, err
		}
		p.contacts[phone] = c
	}
	p.mu.Unlock()
	c.autoReply.Store(autoReply)
	value, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	p.DB.Put(bucketContacts, phone, value)
	return c, c.ensureOnline(ctx)
}

// Get finds a contact.
func (p *Pool) Get(phone string) (*Contact, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.contacts[phone]; c != nil {
		return c, nil
	}
	return nil, ErrUnknown
}

// List is all contacts by phone number.
func (p *Pool) List() []*Contact {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*Contact, 0, len(p.contacts))
	for _, c := range p.contacts {
		out = append(out, c)
	}
	slices.SortFunc(out, func(x, y *Contact) int { return cmp.Compare(x.Phone, y.Phone) })
	return out
}

// Close disconnects all contacts. Messages being handled are finished first.
func (p *Pool) Close() {
	p.end()
	var ending sync.WaitGroup
	for _, c := range p.List() {
		ending.Add(1)
		go func() {
			defer ending.Done()
			c.close()
		}()
	}
	ending.Wait()
	p.work.Wait()
}

package contacts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	waLog "go.mau.fi/whatsmeow/util/log"

	"wharf/connectors/internal/signalstore"
	"wharf/connectors/internal/sim/ledger"
)

// State is where a contact's client stands.
type State string

const (
	StateOffline   State = "offline"    // not connected, or on the way
	StateOnline    State = "online"     // logged in and settled
	StateReplaced  State = "replaced"   // its keys are used elsewhere; it does not come back by itself
	StateLoggedOut State = "logged_out" // its device was unlinked; creating the contact again pairs it anew
)

// Contact is one person with a companion client.
type Contact struct {
	Phone     string
	name      string
	pool      *Pool
	store     *signalstore.Store
	autoReply atomic.Bool
	replies   *replyQueue
	counters  counters

	starting sync.Mutex // held while a client is made or brought online

	mu      sync.Mutex
	client  *whatsmeow.Client
	state   State
	changed chan struct{} // closed and replaced at each change of state
	seen    []Seen
}

type counters struct{ sent, sendErrors, received, undecryptable, replied atomic.Int64 }

// View is a contact as the control API shows it.
type View struct {
	Phone         string `json:"phone"`
	State         State  `json:"state"`
	AutoReply     bool   `json:"auto_reply"`
	Sent          int64  `json:"sent"`
	SendErrors    int64  `json:"send_errors"`
	Received      int64  `json:"received"`
	Undecryptable int64  `json:"undecryptable"`
	Replied       int64  `json:"replied"`
	Replies       int    `json:"replies_waiting"`
}

// journal writes a contact's store into the database, in order with what the server does on account of it.
type journal struct{ contact *Contact }

func (j journal) Record(change signalstore.Change, _ bool) {
	key := j.contact.Phone + "/" + change.Name
	if change.Tombstone {
		j.contact.pool.DB.Delete(bucketState, key)
		return
	}
	j.contact.pool.DB.Put(bucketState, key, change.Value)
}

// fewPreKeys makes whatsmeow's first upload 50 instead of 812: a store without any would be asked for all of them.
type fewPreKeys struct{ store.PreKeyStore }

func (f fewPreKeys) UploadedPreKeyCount(ctx context.Context) (int, error) {
	n, err := f.PreKeyStore.UploadedPreKeyCount(ctx)
	return max(n, 1), err
}

func (p *Pool) newContact(phone string, r contactRecord, items []signalstore.Item) (*Contact, error) {
	c := &Contact{Phone: phone, name: r.Name, pool: p, replies: newReplyQueue(), state: StateOffline, changed: make(chan struct{})}
	c.autoReply.Store(r.AutoReply)
	options := signalstore.Options{Now: p.Now}
	if p.DB.Keeps() {
		options.Journal = journal{c}
	}
	var err error
	if c.store, err = signalstore.New(items, options); err != nil {
		return nil, err
	}
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		c.answer()
	}()
	return c, nil
}

// newClient makes a client on the contact's store; pairing, if it has to be done, happens by itself.
func (c *Contact) newClient() *whatsmeow.Client {
	device := c.store.Device()
	device.PreKeys = fewPreKeys{c.store}
	if device.PushName == "" {
		device.PushName = c.name // presence is shown with it
	}
	client := whatsmeow.NewClient(device, waLog.Noop)
	client.SynchronousAck = true
	client.EnableDecryptedEventBuffer = true // the ratchet lock
	client.UseRetryMessageStore = true
	client.SetForceActiveDeliveryReceipts(true)
	client.SetWebsocketHTTPClient(c.pool.http)
	client.SetPreLoginHTTPClient(c.pool.http)
	client.SetMediaHTTPClient(c.pool.http)
	client.AddEventHandlerWithSuccessStatus(c.handle)
	return client
}

// ensureOnline connects the contact unless it is online, and waits for its login.
func (c *Contact) ensureOnline(ctx context.Context) error {
	c.starting.Lock()
	defer c.starting.Unlock()
	ctx, cancel := context.WithTimeout(ctx, onlineTime)
	defer cancel()
	c.mu.Lock()
	state, client := c.state, c.client
	if state == StateOnline {
		c.mu.Unlock()
		return nil
	}
	if client == nil || state == StateReplaced || state == StateLoggedOut {
		if state == StateLoggedOut {
			if err := c.store.Clear(); err != nil {
				c.mu.Unlock()
				return err
			}
		}
		old := client
		client = c.newClient()
		c.client = client
		c.setState(StateOffline)
		c.mu.Unlock()
		if old != nil {
			old.Disconnect()
		}
		// The connection ends by Disconnect only: ending its context at the same time is a race inside whatsmeow.
		if err := client.ConnectContext(context.WithoutCancel(c.pool.stop)); err != nil {
			return fmt.Errorf("connecting contact %s: %w", c.Phone, err)
		}
	} else {
		c.mu.Unlock()
		// A refused login leaves the client disconnected for good; a lost connection it mends itself.
		if err := client.ConnectContext(context.WithoutCancel(c.pool.stop)); err != nil && !errors.Is(err, whatsmeow.ErrAlreadyConnected) {
			return fmt.Errorf("connecting contact %s: %w", c.Phone, err)
		}
	}
	return c.await(ctx, StateOnline)
}

// await waits until the contact is in a state.
func (c *Contact) await(ctx context.Context, wanted State) error {
	for {
		c.mu.Lock()
		state, changed := c.state, c.changed
		c.mu.Unlock()
		if state == wanted {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("contact %s is %s: %w", c.Phone, state, ctx.Err())
		}
	}
}

// setState is called with the lock held.
func (c *Contact) setState(s State) {
	if c.state == s {
		return
	}
	c.state = s
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Contact) become(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setState(s)
}

// handle is the client's event handler; false keeps whatsmeow from acknowledging.
func (c *Contact) handle(event any) bool {
	switch e := event.(type) {
	case *events.QR:
		c.pool.work.Add(1)
		go func() {
			defer c.pool.work.Done()
			if _, err := c.pool.Scan(c.pool.stop, c.Phone, e.Codes[0]); err != nil {
				c.pool.Log.Warn("contact not paired", "contact", c.Phone, "error", err)
			}
		}()
	case *events.Connected:
		c.become(StateOnline)
	case *events.Disconnected:
		c.become(StateOffline)
	case *events.StreamReplaced:
		c.become(StateReplaced)
	case *events.LoggedOut:
		c.become(StateLoggedOut)
	case *events.UndecryptableMessage:
		c.counters.undecryptable.Add(1)
	case *events.Message:
		c.receive(e)
	default:
		c.notice(event)
	}
	return true
}

func (c *Contact) receive(e *events.Message) {
	if e.Info.IsFromMe {
		return
	}
	sender := e.Info.Sender
	if sender.Server == types.HiddenUserServer && !e.Info.SenderAlt.IsEmpty() {
		sender = e.Info.SenderAlt
	}
	d := describe(e.Message)
	c.counters.received.Add(1)
	n := c.pool.Ledger.AddReceived(ledger.Received{
		Recipient: c.Phone, Sender: sender.User, ID: e.Info.ID, Text: d.text, Kind: d.kind, QuotedID: d.quoted,
		TargetID: d.target, AtMS: c.pool.Now().UnixMilli(), Details: d.details,
	})
	if c.autoReply.Load() && d.kind == kindText && n == 1 {
		c.promise(reply{To: sender.User, Received: e.Info.ID, Text: d.text})
	}
}

// sendTime is how long the server may take to acknowledge.
const sendTime = 10 * time.Second

// ErrRefused means that the server answered a message with an error code.
var ErrRefused = whatsmeow.ErrServerReturnedError

// Send sends one message under an id and returns when the server has accepted it.
func (c *Contact) Send(ctx context.Context, to types.JID, id string, message *waE2E.Message) error {
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client == nil {
		return whatsmeow.ErrNotConnected
	}
	ctx, done := c.store.SendScope(ctx)
	defer done()
	_, err := client.SendMessage(ctx, to, message, whatsmeow.SendRequestExtra{ID: id, Timeout: sendTime})
	if err != nil {
		c.counters.sendErrors.Add(1)
		return err
	}
	c.counters.sent.Add(1)
	return nil
}

// SendSurely sends again, under the same id, for as long as the connection is what fails. A refusal and a missing ack
// end it: the server has had the message.
func (c *Contact) SendSurely(ctx context.Context, to types.JID, id string, message *waE2E.Message) error {
	for {
		if err := c.await(ctx, StateOnline); err != nil {
			return err
		}
		err := c.Send(ctx, to, id, message)
		if err == nil || errors.Is(err, whatsmeow.ErrMessageTimedOut) || errors.Is(err, ErrRefused) || ctx.Err() != nil {
			return err
		}
		c.pool.Log.Debug("sending again", "contact", c.Phone, "id", id, "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// chat is the hidden id of somebody, as chats go by it once it is known.
func (c *Contact) chat(ctx context.Context, jid types.JID) types.JID {
	if lid, err := c.store.GetLIDForPN(ctx, jid); err == nil && !lid.IsEmpty() {
		return lid
	}
	return jid
}

// NewID makes a message id of this contact's own.
func (c *Contact) NewID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client.GenerateMessageID()
}

// View shows the contact.
func (c *Contact) View() View {
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	n := &c.counters
	return View{c.Phone, state, c.autoReply.Load(), n.sent.Load(), n.sendErrors.Load(), n.received.Load(), n.undecryptable.Load(), n.replied.Load(), c.replies.len()}
}

func (c *Contact) close() {
	c.replies.close()
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client != nil {
		client.Disconnect()
	}
}

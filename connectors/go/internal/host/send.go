package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// Commands to the wire, one at a time and in order.
//
// A send is its bytes: the stanza is committed before it leaves (item x/<id> and SendStarted in one entry), and a send
// whose stanza was committed is only ever repeated, never encrypted again. Its item goes with the outcome.

const (
	onlineGrace    = 3 * time.Second  // a new send waits this long for a session that is just reconnecting
	resumeGrace    = 15 * time.Second // an interrupted one longer: newer sends of its chat wait behind it anyway
	prepareTimeout = 60 * time.Second // devices and prekeys must have been fetched within
	markTimeout    = 10 * time.Second
)

var (
	errNoAck       = errors.New("no ack from the server in time")
	errNotPrepared = errors.New("devices or keys could not be fetched in time")
)

type phase int

const (
	preparing phase = iota // nothing left and nothing was committed
	captured               // the stanza is in the journal
	resuming               // the stanza was committed earlier
)

// sending is the send in progress.
type sending struct {
	command *hostpb.Send
	phase   phase
	cancel  context.CancelCauseFunc
	limit   *time.Timer
	timer   *signalstore.Timer // of the chat, if the host added it to the message
}

type sender struct {
	session *session

	mu      sync.Mutex
	queue   []any // *hostpb.Send, *hostpb.Mark
	busy    bool
	stopped bool
	current *sending
	stanzas map[string][]byte // committed stanzas of sends without an outcome, by message id
	online  chan struct{}     // closed when the session gets online
}

func newSender(s *session) *sender {
	return &sender{session: s, stanzas: make(map[string][]byte), online: make(chan struct{})}
}

func (q *sender) restore(id string, stanza []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stanzas[id] = stanza
}

// add queues a command.
func (q *sender) add(command any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	q.queue = append(q.queue, command)
	if !q.busy {
		q.busy = true
		go q.run()
	}
}

func (q *sender) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.queue = nil
}

// wake tells a waiting send that the session is online.
func (q *sender) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.online)
	q.online = make(chan struct{})
}

func (q *sender) run() {
	for {
		q.mu.Lock()
		if len(q.queue) == 0 || q.stopped {
			q.busy = false
			q.mu.Unlock()
			return
		}
		next := q.queue[0]
		q.queue = slices.Delete(q.queue, 0, 1)
		q.mu.Unlock()
		switch command := next.(type) {
		case *hostpb.Send:
			q.send(command)
		case *hostpb.Mark:
			q.finish(&hostpb.Send{CommandId: command.CommandId}, nil, q.session.mark(command))
		}
	}
}

// outcome of a send or mark.
type outcome struct {
	result hostpb.SendFinished_Outcome
	code   int32
	kind   string
	err    error
	resp   whatsmeow.SendResponse
}

func (q *sender) send(c *hostpb.Send) {
	q.mu.Lock()
	stanza, committed := q.stanzas[c.MessageId]
	q.mu.Unlock()
	if committed && q.session.host.switches.reEncrypt {
		committed = false
	}
	switch {
	case committed:
		q.finish(c, stanza, q.resume(c, stanza))
	case c.Resume && !q.session.host.switches.reEncrypt:
		q.finish(c, nil, outcome{
			result: hostpb.SendFinished_NO_ACK, kind: "client", err: errors.New("no committed stanza of this message"),
		})
	default:
		q.finish(c, nil, q.first(c))
	}
}

// waitOnline waits for a session that can send.
func (q *sender) waitOnline(grace time.Duration) bool {
	q.mu.Lock()
	online := q.online
	q.mu.Unlock()
	if q.session.online.Load() {
		return true
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-online:
		return true
	case <-t.C:
	case <-q.session.ctx.Done():
	}
	return q.session.online.Load()
}

// first encrypts and sends.
func (q *sender) first(c *hostpb.Send) outcome {
	s := q.session
	if !s.paired() {
		return outcome{result: hostpb.SendFinished_NOT_SENT, kind: "not_logged_in", err: whatsmeow.ErrNotLoggedIn}
	}
	timer := s.addTimer(c)
	s.nameOurselves(c)
	to, message, err := compose(c, s.client.Load())
	if err != nil {
		return outcome{result: hostpb.SendFinished_REJECTED, kind: "invalid", err: err}
	}
	if !q.waitOnline(onlineGrace) {
		return outcome{result: hostpb.SendFinished_NOT_SENT, kind: "offline", err: whatsmeow.ErrNotConnected}
	}
	cur, ctx := q.begin(c, preparing)
	cur.timer = timer
	if err := s.meet(ctx, to); err != nil {
		return q.judge(cur, whatsmeow.SendResponse{}, causeOf(ctx, err))
	}
	ctx, done := s.store.SendScope(ctx)
	resp, err := s.client.Load().SendMessage(ctx, to, message, whatsmeow.SendRequestExtra{ID: c.MessageId, Timeout: -1})
	done()
	s.recent.Load().forget()
	return q.judge(cur, resp, causeOf(ctx, err))
}

// resume repeats a committed stanza.
func (q *sender) resume(c *hostpb.Send, stanza []byte) outcome {
	s := q.session
	if !s.paired() || !q.waitOnline(resumeGrace) {
		return outcome{result: hostpb.SendFinished_NO_ACK, kind: "offline", err: whatsmeow.ErrNotConnected}
	}
	node, err := decodeStanza(stanza)
	if err != nil {
		return outcome{result: hostpb.SendFinished_NO_ACK, kind: "client", err: err}
	}
	cur, ctx := q.begin(c, resuming)
	//lint:ignore SA1019 there is no other way to send a stored stanza
	internals := s.client.Load().DangerousInternals()
	reply := internals.WaitResponse(c.MessageId)
	if err := internals.SendNode(ctx, *node); err != nil {
		internals.CancelResponse(c.MessageId, reply)
		return q.judge(cur, whatsmeow.SendResponse{}, causeOf(ctx, err))
	}
	select {
	case ack := <-reply:
		return q.judge(cur, ackResponse(ack), ackError(ack))
	case <-ctx.Done():
		internals.CancelResponse(c.MessageId, reply)
		return q.judge(cur, whatsmeow.SendResponse{}, context.Cause(ctx))
	}
}

func decodeStanza(b []byte) (*waBinary.Node, error) {
	unpacked, err := waBinary.Unpack(b)
	if err != nil {
		return nil, fmt.Errorf("committed stanza: %w", err)
	}
	node, err := waBinary.Unmarshal(unpacked)
	if err != nil {
		return nil, fmt.Errorf("committed stanza: %w", err)
	}
	return node, nil
}

func ackResponse(ack *waBinary.Node) (r whatsmeow.SendResponse) {
	if ack != nil {
		ag := ack.AttrGetter()
		r.ServerID = types.MessageServerID(ag.OptionalInt("server_id"))
		r.Timestamp = ag.OptionalUnixTime("t")
	}
	return r
}

// ackError is what whatsmeow itself makes of an ack, and of the end of the connection that it reports as one.
func ackError(ack *waBinary.Node) error {
	if ack == nil || ack.Tag != "ack" {
		return errDisconnected
	}
	if code := ack.AttrGetter().OptionalInt("error"); code != 0 {
		return fmt.Errorf("%w %d", whatsmeow.ErrServerReturnedError, code)
	}
	return nil
}

// causeOf prefers our own reason for a cancelled context.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// begin makes a send the current one. Until its stanza is captured it has prepareTimeout; when it has left, the ack's
// time runs.
func (q *sender) begin(c *hostpb.Send, p phase) (*sending, context.Context) {
	ctx, cancel := context.WithCancelCause(q.session.ctx)
	cur := &sending{command: c, phase: p, cancel: cancel}
	if p == preparing {
		cur.limit = time.AfterFunc(prepareTimeout, func() { cancel(errNotPrepared) })
	}
	q.mu.Lock()
	q.current = cur
	q.mu.Unlock()
	return cur, ctx
}

// nameOurselves completes the quote of an own message: it has to name its author.
func (s *session) nameOurselves(c *hostpb.Send) {
	key := c.GetContent().GetContext().GetQuoted().GetKey()
	if self := s.store.Self(); key.GetFromMe() && key.Sender == "" && len(self) > 0 {
		key.Sender = self[0].ToNonAD().String()
	}
}

// started tells of the stanza that a send has become.
func (cur *sending) started(dir directory, stanza *waBinary.Node) *hostpb.SendStarted {
	chat, _ := stanza.Attrs["to"].(types.JID)
	out := &hostpb.SendStarted{
		CommandId: cur.command.CommandId, MessageId: cur.command.MessageId, Chat: chat.String(),
		Recipient: identity(dir, chat, types.EmptyJID),
	}
	if cur.timer != nil {
		out.EphemeralS, out.EphemeralSetAtMs = &cur.timer.Seconds, millis(cur.timer.SetAt)
	}
	return out
}

// awaits tells whether id is the current send.
func (q *sender) awaits(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.current != nil && q.current.command.MessageId == id
}

// capture takes the stanza of the current send when it passes the Send logger. A stanza of the same id for one device is
// whatsmeow answering a retry receipt and none of ours.
func (q *sender) capture(node *waBinary.Node) {
	q.mu.Lock()
	cur := q.current
	if cur == nil || attr(node, "id") != cur.command.MessageId || cur.phase == captured {
		q.mu.Unlock()
		return
	}
	s := q.session
	if cur.phase == preparing {
		stanza, err := waBinary.Marshal(*node)
		if err != nil {
			q.mu.Unlock()
			cur.cancel(fmt.Errorf("stanza cannot be encoded: %w", err))
			return
		}
		cur.phase = captured
		cur.limit.Stop()
		q.stanzas[cur.command.MessageId] = stanza
		s.journal.append(
			[]*hostpb.ItemChange{{Name: prefixStanza + cur.command.MessageId, Value: stanza}},
			s.event(&hostpb.Event{Body: &hostpb.Event_SendStarted{SendStarted: cur.started(s.store, node)}}),
		)
	}
	q.mu.Unlock()
	s.whenSent(
		func() { s.host.switches.pass("after_sending") },
		func() { time.AfterFunc(s.host.limits.ackTimeout, func() { cur.cancel(errNoAck) }) },
	)
}

// connectionLost: whatsmeow repeats the frame by itself if the session is back within seconds, without a word to us. The
// ack's time runs from now in any case.
func (q *sender) connectionLost() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cur := q.current; cur != nil && cur.phase != preparing {
		time.AfterFunc(q.session.host.limits.ackTimeout, func() { cur.cancel(errNoAck) })
	}
}

// judge makes an outcome of what whatsmeow returned.
func (q *sender) judge(cur *sending, resp whatsmeow.SendResponse, err error) outcome {
	q.mu.Lock()
	p := cur.phase
	q.current = nil
	q.mu.Unlock()
	if cur.limit != nil {
		cur.limit.Stop()
	}
	cur.cancel(nil)
	out := judgeSend(p != preparing, err)
	out.resp = resp
	return out
}

// finish journals an outcome; the stanza goes with a final one.
func (q *sender) finish(c *hostpb.Send, stanza []byte, out outcome) {
	s := q.session
	if s.ended.Load() {
		return
	}
	var changes []*hostpb.ItemChange
	q.mu.Lock()
	if stanza == nil {
		stanza = q.stanzas[c.MessageId]
	}
	if stanza != nil && (out.result == hostpb.SendFinished_ACKED || out.result == hostpb.SendFinished_REJECTED) {
		delete(q.stanzas, c.MessageId)
		changes = []*hostpb.ItemChange{{Name: prefixStanza + c.MessageId, Tombstone: true}}
	}
	q.mu.Unlock()
	finished := &hostpb.SendFinished{
		CommandId: c.CommandId, MessageId: c.MessageId, Outcome: out.result, ErrorCode: out.code, ErrorKind: out.kind,
		ServerId: int64(out.resp.ServerID),
	}
	if stanza != nil {
		if node, err := decodeStanza(stanza); err == nil {
			finished.Chat = attr(node, "to")
		}
	}
	if out.err != nil {
		finished.Error = out.err.Error()
	}
	if !out.resp.Timestamp.IsZero() {
		finished.ServerTimeMs = out.resp.Timestamp.UnixMilli()
	}
	s.host.metrics.sends.WithLabelValues(strings.ToLower(out.result.String())).Inc()
	s.log.Info("send finished", "command", c.CommandId, "message", c.MessageId, "outcome", out.result.String(), "error", finished.Error)
	s.journal.append(changes, s.event(&hostpb.Event{Body: &hostpb.Event_SendFinished{SendFinished: finished}}))
}

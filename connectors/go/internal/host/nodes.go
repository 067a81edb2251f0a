package host

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
	waLog "go.mau.fi/whatsmeow/util/log"
)

// whatsmeow hands each node to the logger "Send" right before its frame is written, by the goroutine that writes it, and
// to the logger "Recv" right after it was read, before it is queued. These are the session's only hooks on the wire.

// answeredTags are the received nodes that get an ack or receipt of ours.
var answeredTags = map[string]bool{
	"message": true, "appdata": true, "status": true, "receipt": true, "notification": true, "call": true,
}

// lostAfter is the time within which the event of a stanza that was answered early must have come. It comes from the same
// goroutine at once, or never.
const lostAfter = 2 * time.Second

// nodeLog is whatsmeow's logger of a session: hooks for nodes, slog for words.
type nodeLog struct {
	session *session
	module  string
}

func (l nodeLog) Sub(module string) waLog.Logger {
	if l.module != "" {
		module = l.module + "/" + module
	}
	return nodeLog{l.session, module}
}

func (l nodeLog) Debugf(msg string, args ...any) {
	if len(args) == 1 && msg == "%s" {
		if node, ok := args[0].(*waBinary.Node); ok {
			switch l.module {
			case "Send":
				l.session.sending(node)
			case "Recv":
				l.session.reading(node)
			}
			return
		}
	}
	if l.session.host.verbose {
		l.session.log.Debug(redacted(msg, args), "module", l.module)
	}
}

func (l nodeLog) Infof(msg string, args ...any) {
	if l.session.host.verbose {
		l.session.log.Info(redacted(msg, args), "module", l.module)
	}
}

func (l nodeLog) Warnf(msg string, args ...any) {
	l.session.log.Log(context.Background(), slog.LevelWarn, redacted(msg, args), "module", l.module)
}

func (l nodeLog) Errorf(msg string, args ...any) {
	level := slog.LevelError
	if l.module == "Socket" {
		level = slog.LevelInfo // the end of a connection, which has its own event
	}
	l.session.log.Log(context.Background(), level, redacted(msg, args), "module", l.module)
}

// redacted formats a line of whatsmeow's without the contents of nodes: they may hold keys and texts.
func redacted(msg string, args []any) string {
	own := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case *waBinary.Node:
			own[i] = "<" + a.Tag + ">"
		case waBinary.Node:
			own[i] = "<" + a.Tag + ">"
		case []byte:
			own[i] = "(" + strconv.Itoa(len(a)) + " bytes)"
		default:
			own[i] = a
		}
	}
	return fmt.Sprintf(strings.ReplaceAll(msg, "%X", "%v"), own...)
}

func attr(node *waBinary.Node, name string) string {
	switch v := node.Attrs[name].(type) {
	case nil:
		return ""
	case string:
		return v
	case types.JID:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}

// flow stops reading while too much of what was read is not answered on the wire yet.
type flow struct {
	mu      sync.Mutex
	cond    *sync.Cond
	unacked int
	waiting bool
	closed  bool
}

func newFlow() *flow {
	f := &flow{}
	f.cond = sync.NewCond(&f.mu)
	return f
}

// enter counts a node and waits until there is room for it.
func (f *flow) enter(limit int, room func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed && (f.unacked >= limit || !room()) {
		f.waiting = true
		f.cond.Wait()
	}
	f.waiting = false
	f.unacked++
}

// waits tells whether the reader stands still, of its own will.
func (f *flow) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting
}

func (f *flow) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unacked > 0 {
		f.unacked--
	}
	f.cond.Signal()
}

// wake makes enter look again.
func (f *flow) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cond.Broadcast()
}

// reset is for a new connection: what was read on the old one comes again.
func (f *flow) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unacked = 0
	f.cond.Broadcast()
}

func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cond.Broadcast()
}

// reading sees each received node, on the goroutine that reads the socket.
func (s *session) reading(node *waBinary.Node) {
	s.heard(node)
	s.countBacklog(node)
	if node.Tag == "ack" {
		if attr(node, "class") == "message" && s.sender.awaits(attr(node, "id")) {
			s.host.switches.pass("after_wire")
		}
		return
	}
	if !answeredTags[node.Tag] {
		return
	}
	s.flow.enter(s.host.limits.unackedNodes, s.host.link.room)
	s.pulse.beat()
	if node.Tag == "message" || node.Tag == "appdata" {
		s.inbound.received(&stanza{
			key:  stanzaKey{attr(node, "id"), attr(node, "from"), attr(node, "participant")},
			tag:  node.Tag,
			peer: attr(node, "category") == "peer",
		})
	}
}

// sending sees each node that is about to be written.
func (s *session) sending(node *waBinary.Node) {
	switch node.Tag {
	case "ack":
		if class := attr(node, "class"); class == "message" || class == "appdata" {
			s.answering(answer{
				key: stanzaKey{attr(node, "id"), attr(node, "to"), attr(node, "participant")},
				ack: true, code: attr(node, "error"),
			})
		}
		s.whenSent(nil, s.flow.leave)
	case "receipt":
		s.answering(answer{
			key:         stanzaKey{attr(node, "id"), attr(node, "to"), attr(node, "participant")},
			receiptType: attr(node, "type"),
		})
	case "message":
		if attr(node, "category") == "peer" {
			s.ackPeerMessage(node)
			return
		}
		s.sender.capture(node)
	}
}

// answering judges an answer to a received message and journals what whatsmeow keeps to itself.
func (s *session) answering(a answer) {
	v, st := s.inbound.answered(a, s.journal.expect)
	switch v {
	case answerEarly:
		if a.ack {
			opened := s.journal.openNumber()
			time.AfterFunc(lostAfter, func() { s.reportLost(st, opened) })
		}
	case answerLost:
		s.journal.close(lostEvent(st, s.host.now()), nil)
	case answerPlain:
		if st != nil {
			s.journal.close(nil, nil)
		}
	}
	if !a.ack && st != nil && v != answerEarly {
		s.whenSent(nil, s.flow.leave)
	}
}

// reportLost journals a stanza whose event has not come.
func (s *session) reportLost(st *stanza, opened uint64) {
	if s.inbound.lost(st) {
		s.journal.settle(lostEvent(st, s.host.now()), st.expected, opened)
	}
}

// ackPeerMessage ends the wait of a peer message: whatsmeow sends it inside the handler of a node and would wait there for
// an ack that may lie behind a thousand unread nodes. Nothing depends on that ack.
func (s *session) ackPeerMessage(node *waBinary.Node) {
	//lint:ignore SA1019 there is no other way to end the wait
	s.client.Load().DangerousInternals().ReceiveResponse(context.Background(), &waBinary.Node{
		Tag: "ack", Attrs: waBinary.Attrs{"id": attr(node, "id"), "class": "message"},
	})
}

// whenSent runs before and after around the writing of the frame that comes next.
func (s *session) whenSent(before, after func()) {
	if g := s.gate.Load(); g != nil {
		g.whenSent(before, after)
	}
}

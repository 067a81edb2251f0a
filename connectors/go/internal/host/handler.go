package host

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.mau.fi/libsignal/signalerror"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"wharf/connectors/internal/hostpb"
)

// whatsmeow's events into the journal. A handler never waits. It says false, which withholds the ack, when the session has
// ended or when it panicked: whatsmeow takes a panic for success.

func isOldCounter(err error) bool { return errors.Is(err, signalerror.ErrOldCounter) }

func (s *session) handle(evt any) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("handler panicked", "event", fmt.Sprintf("%T", evt), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			s.teardown("panic", true)
			ok = false
		}
	}()
	if s.ended.Load() {
		return false
	}
	since := s.host.now()
	s.handlerSince.Store(&since)
	defer s.handlerSince.Store(nil)
	switch evt := evt.(type) {
	case *events.Message:
		return s.message(evt)
	case *events.UndecryptableMessage:
		s.host.switches.pass("after_undecryptable_ack")
		s.host.metrics.undecryptable.Inc()
		return s.journaled(evt.Info.ID, s.inOrder(mapUndecryptable(s.store, evt)))
	case *events.Receipt:
		s.forgetRetries(evt)
		return s.journal.append(nil, s.inOrder(mapReceipt(s.store, evt)))
	case *events.ChatPresence:
		return s.journal.append(nil, s.inOrder(mapTyping(s.store, evt)))
	case *events.Presence:
		return s.journal.append(nil, s.inOrder(mapPresence(s.store, evt)))
	case *events.NotifyAccountReachoutTimelock:
		return s.journal.append(nil, s.inOrder(mapTimelock(evt)))
	case *events.OfflineSyncPreview:
		s.offlineSync.Store(true)
		return s.state(offlineSyncState(map[string]int64{
			"total": int64(evt.Total), "messages": int64(evt.Messages), "receipts": int64(evt.Receipts),
			"notifications": int64(evt.Notifications), "app_data": int64(evt.AppDataChanges),
		}, "preview"))
	case *events.OfflineSyncCompleted:
		s.offlineSync.Store(false)
		return s.state(offlineSyncState(map[string]int64{"count": int64(evt.Count)}, "completed"))
	}
	if s.connectionEvent(evt) || s.pairingEvent(evt) {
		return !s.ended.Load()
	}
	return s.journal.append(nil, s.inOrder(mapOther(evt)))
}

func offlineSyncState(counts map[string]int64, reason string) *hostpb.SessionState {
	return &hostpb.SessionState{State: hostpb.SessionState_OFFLINE_SYNC, Counts: counts, Reason: reason}
}

// inOrder completes an event that belongs to WhatsApp's own order.
func (s *session) inOrder(e *hostpb.Event) *hostpb.Event {
	if s.offlineSync.Load() && e.Origin == hostpb.Origin_LIVE {
		e.Origin = hostpb.Origin_OFFLINE
	}
	return s.event(e)
}

func (s *session) message(evt *events.Message) bool {
	s.host.switches.pass("after_ratchet")
	if evt.UnavailableRequestID != "" {
		// The phone's copy of a message, dispatched from inside another one that is still open.
		return s.journal.append(nil, s.inOrder(mapMessage(s.store, evt, s.revealed(evt), s.settings.KeepRaw, s.log)))
	}
	if onlySenderKey(evt) {
		s.inbound.dispatched(evt.Info.ID, false)
		return s.journal.close(nil, nil)
	}
	mapped := s.inOrder(mapMessage(s.store, evt, s.revealed(evt), s.settings.KeepRaw, s.log))
	if !s.learnTimer(mapped) {
		return false
	}
	s.host.switches.pass("before_journal")
	s.host.metrics.messages.WithLabelValues("in").Inc()
	return s.journaled(evt.Info.ID, mapped)
}

// revealed decrypts what an edit or reaction encrypted with the secret of the message it is about; nil when that secret is
// not known.
func (s *session) revealed(evt *events.Message) *waE2E.Message {
	c := s.client.Load()
	var secret *waE2E.Message
	var err error
	switch {
	case evt.Message.GetSecretEncryptedMessage() != nil:
		secret, err = c.DecryptSecretEncryptedMessage(s.ctx, evt)
	case evt.Message.GetEncReactionMessage() != nil:
		var reaction *waE2E.ReactionMessage
		reaction, err = c.DecryptReaction(s.ctx, evt)
		secret = &waE2E.Message{ReactionMessage: reaction}
	default:
		return nil
	}
	if err != nil {
		s.log.Info("secret part of a message cannot be read", "message", evt.Info.ID, "error", err)
		return nil
	}
	return secret
}

// journaled appends the event of a message stanza: it is not open any more, and an answer that rests on it may leave.
func (s *session) journaled(id string, event *hostpb.Event) bool {
	return s.journal.close(event, s.inbound.dispatched(id, true))
}

// mapped journals an identity mapping; the store calls it, locked.
func (s *session) mapped(lid, pn types.JID) {
	s.journal.append(nil, s.event(&hostpb.Event{Body: &hostpb.Event_Identity{Identity: &hostpb.IdentityMapping{
		Lid: lid.String(), Pn: pn.String(),
	}}}))
}

// forgetRetries drops the plaintext of messages that the other side has. In groups others may still ask for theirs.
func (s *session) forgetRetries(evt *events.Receipt) {
	switch evt.Type {
	case types.ReceiptTypeDelivered, types.ReceiptTypeInactive, types.ReceiptTypeRead, types.ReceiptTypePlayed:
	default:
		return
	}
	if evt.IsGroup || evt.IsFromMe {
		return
	}
	for _, id := range evt.MessageIDs {
		if err := s.store.ForgetOutgoingEvent(evt.Chat, id); err != nil {
			return // the session has ended
		}
	}
}

func (s *session) state(state *hostpb.SessionState) bool {
	return s.journal.append(nil, s.event(&hostpb.Event{Body: &hostpb.Event_State{State: state}}))
}

// connectionEvent takes what concerns the connection; false: it is something else.
func (s *session) connectionEvent(evt any) bool {
	switch evt := evt.(type) {
	case *events.Connected:
		d := s.client.Load().Store
		s.state(&hostpb.SessionState{State: hostpb.SessionState_ONLINE, Self: identity(s.store, d.GetJID(), d.GetLID())})
		s.pulse.beat()
		s.pulse.refused.Store(0)
		s.pulse.faint.Store(false)
		s.online.Store(true)
		s.loginEnded(loginEnd{})
		s.followAgain()
		s.sender.wake()
	case *events.Disconnected:
		s.state(s.offlineState("disconnected"))
		if !s.paired() {
			s.pairingDisconnected()
			return true
		}
		s.lostConnection(loginEnd{err: errDisconnected})
	case *events.ManualLoginReconnect:
		s.state(&hostpb.SessionState{State: hostpb.SessionState_RESTART_REQUIRED, ReasonCode: 515})
		s.lostConnection(loginEnd{err: errDisconnected})
	case *events.StreamReplaced:
		s.finish(s.event(&hostpb.Event{Body: &hostpb.Event_State{State: &hostpb.SessionState{
			State: hostpb.SessionState_REPLACED, Reason: "another login with the same keys",
		}}}), "replaced", false)
	case *events.LoggedOut:
		s.finish(s.event(&hostpb.Event{Body: &hostpb.Event_State{State: &hostpb.SessionState{
			State: hostpb.SessionState_LOGGED_OUT, ReasonCode: int32(evt.Reason), Reason: logoutReason(evt),
		}}}), "logged_out", false)
	case *events.TemporaryBan:
		state := &hostpb.SessionState{State: hostpb.SessionState_BANNED, ReasonCode: int32(evt.Code), Reason: evt.Code.String()}
		if evt.Expire > 0 {
			state.ExpiresAtMs = s.host.now().Add(evt.Expire).UnixMilli()
		}
		s.state(state)
		s.refused("temporarily banned", max(evt.Expire, refusedDelay))
	case *events.ClientOutdated:
		s.state(&hostpb.SessionState{State: hostpb.SessionState_OUTDATED, ReasonCode: 405, Reason: "client version is outdated"})
		s.refused("client outdated", outdatedDelay)
	case *events.ConnectFailure:
		s.state(&hostpb.SessionState{State: hostpb.SessionState_FAILED, ReasonCode: int32(evt.Reason), Reason: evt.Reason.String()})
		s.refused(evt.Reason.String(), refusedDelay)
	case *events.StreamError:
		s.state(&hostpb.SessionState{State: hostpb.SessionState_STREAM_ERROR, ReasonCode: number(evt.Code), Reason: "stream error " + evt.Code})
		s.refused("stream error "+evt.Code, 0)
	case *events.KeepAliveTimeout:
		s.keepAliveLost(evt.ErrorCount)
	case *events.KeepAliveRestored:
		s.keepAliveBack()
	default:
		return false
	}
	return true
}

// refused goes on after a failure code: whatsmeow expects the server to hang up and says nothing more.
func (s *session) refused(why string, delay time.Duration) {
	s.lostConnection(loginEnd{err: errors.New(why), delay: delay})
}

func logoutReason(evt *events.LoggedOut) string {
	if !evt.OnConnect {
		return "device_removed"
	}
	return evt.Reason.String()
}

// pairingEvent takes what concerns pairing; false: it is something else.
func (s *session) pairingEvent(evt any) bool {
	switch evt := evt.(type) {
	case *events.QR:
		s.gotCodes(evt)
	case *events.PairSuccess:
		s.pairSucceeded(evt)
	case *events.PairError:
		s.pairFailed(evt)
	case *events.QRScannedWithoutMultidevice:
		s.state(&hostpb.SessionState{State: hostpb.SessionState_PAIR_FAILED, Reason: "scanned_without_multidevice"})
	default:
		return false
	}
	return true
}

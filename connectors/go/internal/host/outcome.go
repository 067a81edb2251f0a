package host

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/hostpb"
)

// What became of a send, judged from the error and from whether its stanza was committed (pure), and marks.

var serverCode = regexp.MustCompile(`\d+$`)

func number(s string) int32 {
	n, err := strconv.ParseInt(serverCode.FindString(s), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// judgeSend: once the stanza is committed only the server's word is final; before, nothing has left.
func judgeSend(committed bool, err error) outcome {
	switch {
	case err == nil:
		return outcome{result: hostpb.SendFinished_ACKED}
	case errors.Is(err, whatsmeow.ErrServerReturnedError):
		return outcome{result: hostpb.SendFinished_REJECTED, code: number(err.Error()), kind: "server", err: err}
	case committed:
		return outcome{result: hostpb.SendFinished_NO_ACK, kind: "no_ack", err: err}
	}
	out := outcome{result: hostpb.SendFinished_NOT_SENT, kind: "client", err: err}
	var iq *whatsmeow.IQError
	switch {
	case strings.HasPrefix(err.Error(), "no LID found for"):
		// whatsmeow has no value for it: the server knows no account under this number.
		out.result, out.kind = hostpb.SendFinished_REJECTED, "not_on_whatsapp"
	case errors.Is(err, whatsmeow.ErrUnknownServer), errors.Is(err, whatsmeow.ErrRecipientADJID),
		errors.Is(err, whatsmeow.ErrBroadcastListUnsupported), errors.Is(err, whatsmeow.ErrInvalidInlineBotID),
		errors.Is(err, whatsmeow.ErrGroupNotFound), errors.Is(err, whatsmeow.ErrNotInGroup):
		out.result, out.kind = hostpb.SendFinished_REJECTED, "invalid"
	case errors.Is(err, errNoPushName):
		out.result, out.kind = hostpb.SendFinished_REJECTED, "invalid"
	case errors.Is(err, errNoKeys):
		out.result, out.kind = hostpb.SendFinished_REJECTED, "no_keys"
	case errors.Is(err, errPreKeys):
		out.kind = "server"
	case errors.Is(err, whatsmeow.ErrNotLoggedIn):
		out.kind = "not_logged_in"
	case errors.Is(err, whatsmeow.ErrNotConnected), errors.Is(err, errDisconnected):
		out.kind = "offline"
	case errors.As(err, &iq):
		out.kind, out.code = "server", int32(iq.Code)
	}
	return out
}

// mark tells WhatsApp something that is no message: read, typing, presence.
func (s *session) mark(m *hostpb.Mark) outcome {
	if !s.online.Load() {
		return outcome{result: hostpb.SendFinished_NOT_SENT, kind: "offline", err: whatsmeow.ErrNotConnected}
	}
	ctx, cancel := context.WithTimeout(s.ctx, markTimeout)
	defer cancel()
	chat, err := parseTo(m.Chat)
	needsChat := m.Kind != "available" && m.Kind != "unavailable"
	if needsChat && err != nil {
		return outcome{result: hostpb.SendFinished_REJECTED, kind: "invalid", err: err}
	}
	c := s.client.Load()
	switch m.Kind {
	case "read", "played":
		var sender types.JID
		if m.Sender != "" {
			if sender, err = parseTo(m.Sender); err != nil {
				return outcome{result: hostpb.SendFinished_REJECTED, kind: "invalid", err: err}
			}
		}
		receipt := types.ReceiptTypeRead
		if m.Kind == "played" {
			receipt = types.ReceiptTypePlayed
		}
		if len(m.MessageIds) == 0 {
			return outcome{result: hostpb.SendFinished_REJECTED, kind: "invalid", err: errors.New("no message ids")}
		}
		err = c.MarkRead(ctx, m.MessageIds, s.host.now().Truncate(time.Second), chat, sender, receipt)
	case "composing":
		err = c.SendChatPresence(ctx, chat, types.ChatPresenceComposing, types.ChatPresenceMediaText)
	case "recording":
		err = c.SendChatPresence(ctx, chat, types.ChatPresenceComposing, types.ChatPresenceMediaAudio)
	case "paused":
		err = c.SendChatPresence(ctx, chat, types.ChatPresencePaused, types.ChatPresenceMediaText)
	case "available":
		err = s.sendPresence(ctx, types.PresenceAvailable)
	case "unavailable":
		err = s.sendPresence(ctx, types.PresenceUnavailable)
	case "subscribe":
		if err = s.store.Watch(chat); err == nil {
			err = c.SubscribePresence(ctx, chat)
		}
	default:
		return outcome{result: hostpb.SendFinished_REJECTED, kind: "invalid", err: errors.New("unknown mark " + strconv.Quote(m.Kind))}
	}
	return judgeSend(false, err)
}

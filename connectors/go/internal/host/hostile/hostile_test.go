package hostile

import (
	"bytes"
	"compress/zlib"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/binary/token"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/wire"
)

var (
	her    = types.NewJID("491700000002", types.DefaultUserServer)
	herLID = types.NewJID("9000002", types.HiddenUserServer)
	device = types.NewADJID("491700000002", types.WhatsAppDomain, 3)
	group  = types.NewJID("120363000000000001", types.GroupServer)
)

type (
	attrs = waBinary.Attrs
	nodes = []waBinary.Node
)

// stanzas are one of each kind that whatsmeow handles.
func stanzas() nodes {
	enc := waBinary.Node{Tag: "enc", Attrs: attrs{"v": "2", "type": "pkmsg"}, Content: []byte("no ciphertext")}
	message := func(a attrs, content ...waBinary.Node) waBinary.Node {
		all := attrs{"id": "M1", "from": her, "t": "1800000000", "type": "text", "notify": "Her", "sender_lid": herLID}
		for name, value := range a {
			all[name] = value
		}
		return waBinary.Node{Tag: "message", Attrs: all, Content: content}
	}
	notification := func(kind string, content ...waBinary.Node) waBinary.Node {
		return waBinary.Node{Tag: "notification", Attrs: attrs{"id": "N1", "from": her, "type": kind, "t": "1800000000", "participant": her}, Content: content}
	}
	child := func(tag string, a attrs, content any) waBinary.Node {
		return waBinary.Node{Tag: tag, Attrs: a, Content: content}
	}
	server := notification("encrypt", child("count", attrs{"value": "3"}, nil))
	server.Attrs["from"] = types.ServerJID
	own := notification("account_sync", child("devices", attrs{"dhash": "2:x"}, nodes{child("device", attrs{"jid": device}, nil)}),
		child("privacy", nil, nodes{child("category", attrs{"name": "last", "value": "all"}, nil)}),
		child("blocklist", attrs{"action": "modify", "dhash": "d"}, nodes{child("item", attrs{"jid": her, "action": "block"}, nil)}), child("picture", nil, nil))
	own.Attrs["from"] = types.NewJID("491700000001", types.DefaultUserServer)
	receipt := func(a attrs, content ...waBinary.Node) waBinary.Node {
		all := attrs{"id": "R1", "from": her, "t": "1800000000"}
		for name, value := range a {
			all[name] = value
		}
		return waBinary.Node{Tag: "receipt", Attrs: all, Content: content}
	}
	call := func(kind string) waBinary.Node {
		return waBinary.Node{Tag: "call", Attrs: attrs{"id": "C1", "from": her, "t": "1800000000"}, Content: nodes{child(kind, attrs{"call-id": "c", "call-creator": her}, nil)}}
	}
	return nodes{
		message(nil, enc),
		message(attrs{"from": group, "participant": her}, enc, child("enc", attrs{"v": "2", "type": "skmsg"}, []byte{1, 2, 3})),
		message(attrs{"category": "peer"}, enc), message(nil, child("unavailable", attrs{"type": "view_once"}, nil)),
		message(nil, child("enc", attrs{"v": "2", "type": "msmsg"}, []byte{10, 0}), child("meta", attrs{"target_id": "T"}, nil), child("bot", attrs{"edit": "first"}, nil)),
		message(attrs{"from": types.NewJID("1203", types.NewsletterServer), "server_id": "7"}, child("plaintext", nil, []byte{10, 1, 'x'}), child("verified_name", attrs{"v": "1"}, []byte{1})),
		message(attrs{"from": types.StatusBroadcastJID, "participant": her}, child("device-identity", nil, []byte{1}), child("reporting", nil, nil)),
		{Tag: "status", Attrs: attrs{"id": "S", "from": her, "t": "1", "type": "text"}, Content: nodes{child("plaintext", nil, []byte{10, 1, 'x'})}},
		{Tag: "appdata", Attrs: attrs{"id": "A", "from": her, "t": "1"}, Content: nodes{enc}},
		server, own,
		notification("encrypt", child("identity", nil, nil)), notification("server_sync", child("collection", attrs{"name": "regular", "version": "3"}, nil)),
		notification("devices", child("add", attrs{"device_hash": "2:x"}, nodes{child("device", attrs{"jid": device}, nil), child("key-index-list", attrs{"ts": "1"}, []byte{1})})),
		notification("fbid:devices", child("devices", nil, nodes{child("device", attrs{"id": "2"}, nil)})),
		notification("w:gp2", child("create", attrs{"key": "k"}, nodes{child("group", attrs{"id": "1203", "creator": her, "creation": "1", "subject": "s", "s_t": "1", "s_o": her}, nodes{
			child("participant", attrs{"jid": her, "type": "admin", "lid": herLID, "error": "403"}, nodes{child("add_request", attrs{"code": "c", "expiration": "1"}, nil)}),
			child("description", attrs{"id": "d", "participant": her, "t": "1"}, nodes{child("body", nil, []byte("b"))}), child("ephemeral", attrs{"expiration": "1"}, nil)})})),
		notification("w:gp2", child("add", nil, nodes{child("participant", attrs{"jid": her}, nil)}), child("subject", attrs{"subject": "s", "s_t": "1"}, nil), child("link", attrs{"link_type": "sub_group"}, nodes{child("group", attrs{"jid": group, "subject": "s", "s_t": "1"}, nil)})),
		notification("picture", child("set", attrs{"jid": her, "id": "1", "author": her}, nil)), notification("status", child("set", nil, []byte("s"))),
		notification("mediaretry", child("encrypt", nil, nodes{child("enc_p", nil, []byte{1}), child("enc_iv", nil, []byte{2})}), child("rmr", attrs{"jid": her, "from_me": "false"}, nil)),
		notification("privacy_token", child("tokens", nil, nodes{child("token", attrs{"type": "trusted_contact", "t": "1"}, []byte{1})})),
		notification("link_code_companion_reg", child("link_code_companion_reg", attrs{"stage": "primary_hello"}, nodes{
			child("link_code_pairing_wrapped_primary_ephemeral_pub", nil, make([]byte, 80)), child("primary_identity_pub", nil, make([]byte, 32)), child("link_code_pairing_ref", nil, []byte("r"))})),
		notification("newsletter", child("live_updates", nil, nodes{child("messages", nil, nodes{child("message", attrs{"server_id": "1", "t": "1"}, nodes{child("reactions", nil, nodes{child("reaction", attrs{"code": "x", "count": "1"}, nil)})})})})),
		notification("mex", child("update", attrs{"op_name": "x"}, []byte(`{"data":{"xwa2_notify_newsletter_on_join":{"id":"1@newsletter"},"xwa2_notify_account_reachout_timelock":{"is_active":true}}}`))),
		notification("passkey_prologue_request", child("passkey_request_options", nil, []byte("{}"))), notification("crsc_continuation", child("pairing", nil, nil)),
		receipt(nil), receipt(attrs{"type": "read"}, child("list", nil, nodes{child("item", attrs{"id": "R2"}, nil)})),
		receipt(attrs{"type": "retry", "participant": device}, child("retry", attrs{"id": "M1", "t": "1", "count": "1", "v": "1"}, nil), child("registration", nil, []byte{0, 0, 0, 1}),
			child("keys", nil, nodes{child("type", nil, []byte{5}), child("identity", nil, make([]byte, 32)), child("key", nil, nodes{child("id", nil, []byte{0, 0, 1}), child("value", nil, make([]byte, 32))}),
				child("skey", nil, nodes{child("id", nil, []byte{0, 0, 1}), child("value", nil, make([]byte, 32)), child("signature", nil, make([]byte, 64))})})),
		receipt(attrs{"from": group}, child("participants", attrs{"key": "M1"}, nodes{child("user", attrs{"jid": her, "t": "1"}, nil)})),
		call("offer"), call("accept"), call("terminate"), call("relaylatency"), call("transport"), call("reject"), call("offer_notice"),
		{Tag: "presence", Attrs: attrs{"from": her, "type": "unavailable", "last": "1"}}, {Tag: "chatstate", Attrs: attrs{"from": her}, Content: nodes{child("composing", attrs{"media": "audio"}, nil)}},
		{Tag: "ib", Attrs: attrs{"from": types.ServerJID}, Content: nodes{child("offline_preview", attrs{"count": "1"}, nil), child("offline", attrs{"count": "1"}, nil), child("downgrade_webclient", nil, nil), child("dirty", attrs{"type": "groups"}, nil)}},
		{Tag: "iq", Attrs: attrs{"from": types.ServerJID, "id": "1", "type": "set"}, Content: nodes{child("pair-device", nil, nodes{child("ref", nil, []byte("r"))})}},
		{Tag: "iq", Attrs: attrs{"from": types.ServerJID, "id": "1", "type": "set"}, Content: nodes{child("pair-success", nil, nodes{child("device-identity", nil, []byte{10, 0}), child("device", attrs{"jid": device, "lid": herLID}, nil), child("biz", attrs{"name": "b"}, nil), child("platform", attrs{"name": "p"}, nil)})}},
		{Tag: "success", Attrs: attrs{"t": "1", "lid": herLID}}, {Tag: "failure", Attrs: attrs{"reason": "503", "message": "m"}}, {Tag: "failure", Attrs: attrs{"reason": "402", "code": "101", "expire": "5"}},
		{Tag: "stream:error", Attrs: attrs{"code": "515"}}, {Tag: "stream:error", Attrs: attrs{"code": "401"}, Content: nodes{child("conflict", attrs{"type": "replaced"}, nil)}},
		{Tag: "xmlstreamend"}, {Tag: "ack", Attrs: attrs{"id": "M1", "class": "message", "error": "463"}},
	}
}

// answers are what queries get that a send makes.
func answers() nodes {
	key := nodes{{Tag: "id", Content: []byte{0, 0, 1}}, {Tag: "value", Content: make([]byte, 32)}}
	signed := append(key[:2:2], waBinary.Node{Tag: "signature", Content: make([]byte, 64)})
	user := waBinary.Node{Tag: "user", Attrs: attrs{"jid": her}, Content: nodes{
		{Tag: "devices", Content: nodes{{Tag: "device-list", Content: nodes{{Tag: "device", Attrs: attrs{"id": "0"}}, {Tag: "device", Attrs: attrs{"id": "3", "key-index": "1"}}}},
			{Tag: "key-index-list", Attrs: attrs{"ts": "1"}, Content: []byte{1}}}}, {Tag: "lid", Attrs: attrs{"val": herLID}}, {Tag: "contact", Attrs: attrs{"type": "in"}, Content: []byte("x")}}}
	keyed := waBinary.Node{Tag: "user", Attrs: attrs{"jid": device}, Content: nodes{
		{Tag: "registration", Content: []byte{0, 0, 0, 1}}, {Tag: "type", Content: []byte{5}}, {Tag: "identity", Content: make([]byte, 32)}, {Tag: "skey", Content: signed}, {Tag: "key", Content: key}}}
	return nodes{
		{Tag: "iq", Content: nodes{{Tag: "usync", Attrs: attrs{"sid": "x", "index": "0"}, Content: nodes{{Tag: "result"}, {Tag: "list", Content: nodes{user}}}}}},
		{Tag: "iq", Content: nodes{{Tag: "list", Content: nodes{keyed}}}},
		{Tag: "iq", Attrs: attrs{"type": "error"}, Content: nodes{{Tag: "error", Attrs: attrs{"code": "429", "text": "rate-overlimit"}}}},
		{Tag: "iq", Content: nodes{{Tag: "count", Attrs: attrs{"value": "1"}}}},
		{Tag: "iq", Content: nodes{{Tag: "sync", Content: nodes{{Tag: "collection", Attrs: attrs{"name": "regular"}, Content: nodes{{Tag: "patches", Content: nodes{{Tag: "patch", Content: []byte{1}}}}}}}}}},
	}
}

func encoded(t testing.TB, all nodes) (out [][]byte) {
	t.Helper()
	for _, n := range all {
		payload, err := wire.Encode(n)
		must(t, err)
		out = append(out, payload)
	}
	return out
}

// malformed frames are those that whatsmeow's decoder does not survive.
func malformed() [][]byte {
	var bomb bytes.Buffer
	bomb.WriteByte(2)
	z := zlib.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 64<<20))
	_ = z.Close()
	deep := []byte{0}
	for range 200_000 {
		deep = append(deep, token.List8, 2, 4, token.List8, 1)
	}
	return [][]byte{
		{}, {0}, {0, token.ListEmpty}, {0, token.List8, 1, token.List8, 0}, {0, token.List8, 1, token.ListEmpty}, {2, 1, 2, 3},
		{0, token.List8, 3, 4, 4, token.JIDPair, 4, token.ListEmpty}, {0, token.List8, 1, token.Nibble8, 0x80},
		{0, token.List8, 2, 4, token.Binary32, 0xff, 0xff, 0xff, 0xff}, {0, token.List8, 3, 4, 4, token.ADJID, 0, 0, token.ListEmpty},
		deep, bomb.Bytes(),
	}
}

func TestMalformedFramesEndOneSessionOnly(t *testing.T) {
	b := newBench(t)
	for i, payload := range malformed() {
		before := b.torn
		b.say(payload)
		if b.torn != before+1 {
			t.Errorf("frame %d was taken for one", i)
		}
	}
	if !b.serves(bystander) {
		t.Error("the other session has ended")
	}
}

// Nodes whose handlers panic in whatsmeow.
func TestPanicsOfHandlersEndOneSessionOnly(t *testing.T) {
	b := newBench(t)
	pair := waBinary.Node{Tag: "iq", Attrs: attrs{"from": types.ServerJID, "type": "set"}, Content: nodes{{Tag: "pair-success"}}}
	for _, payload := range encoded(t, nodes{pair}) {
		before := b.torn
		b.say(payload)
		if b.torn != before+1 {
			t.Error("a handler was expected to panic")
		}
	}
	if !b.serves(bystander) {
		t.Error("the other session has ended")
	}
}

// inputs is how many damaged stanzas a run tries; the long run sets it. Native fuzzing does not suit a target with a state.
func inputs(t *testing.T, few int) (count int, seed uint64) {
	t.Helper()
	if many := os.Getenv("WHARF_FUZZ_INPUTS"); many != "" {
		n, err := strconv.Atoi(many)
		must(t, err)
		return n, rand.Uint64()
	}
	return few, 1
}

// Every kind of stanza and answer, and many damaged ones.
func TestHostileStanzas(t *testing.T) {
	b := newBench(t)
	seeds, replies := encoded(t, stanzas()), encoded(t, answers())
	for _, payload := range seeds {
		b.say(payload)
	}
	for _, payload := range replies {
		b.reply(payload)
	}
	count, seed := inputs(t, 400)
	r := rand.New(rand.NewPCG(seed, 2))
	t.Logf("seed %d", seed)
	for i := range count {
		switch {
		case i%20 == 0:
			b.reply(damaged(r, replies))
		case i%20 == 10:
			b.reply(odd(r, answers()))
		case i%4 == 1:
			b.say(damaged(r, seeds))
		default:
			b.say(odd(r, stanzas()))
		}
	}
	if !b.serves(bystander) {
		t.Error("the other session has ended")
	}
	t.Logf("%d inputs: the session ended %d times", count, b.torn)
}

// odd is one of the stanzas with something unexpected in it, well encoded.
func odd(r *rand.Rand, all nodes) []byte {
	node := all[r.IntN(len(all))]
	for range 1 + r.IntN(3) {
		bend(r, &node)
	}
	payload, err := wire.Encode(node)
	if err != nil {
		return []byte{0, 248, 1, 4}
	}
	return payload
}

// bend changes an attribute, the content or the children of a node or of one below it.
func bend(r *rand.Rand, n *waBinary.Node) {
	below, _ := n.Content.([]waBinary.Node)
	if len(below) > 0 && r.IntN(3) > 0 {
		bend(r, &below[r.IntN(len(below))])
		return
	}
	values := []any{"", "1", "-1", "99999999999999999999", "\xff", her, herLID, device, group, types.ServerJID, types.NewJID("", "lid"), types.NewJID("1", "nowhere")}
	contents := []any{nil, []byte{}, []byte{0xff, 0x01}, make([]byte, 32), nodes{}, nodes{{Tag: "x"}}, nodes{{Tag: n.Tag, Attrs: attrs{"id": "1"}}}}
	switch r.IntN(5) {
	case 0:
		for name := range n.Attrs {
			delete(n.Attrs, name)
			break
		}
	case 1:
		for name := range n.Attrs {
			n.Attrs[name] = values[r.IntN(len(values))]
			break
		}
	case 2:
		n.Content = contents[r.IntN(len(contents))]
	case 3:
		if len(below) > 0 {
			n.Content = append(slices.Clone(below), below[r.IntN(len(below))])
		}
	case 4:
		if len(below) > 0 {
			n.Content = slices.Delete(slices.Clone(below), 0, 1)
		}
	}
}

// damaged is one of the seeds with a few bytes changed, cut, doubled or taken from another one.
func damaged(r *rand.Rand, seeds [][]byte) []byte {
	out := bytes.Clone(seeds[r.IntN(len(seeds))])
	for range 1 + r.IntN(4) {
		at := r.IntN(len(out) + 1)
		switch r.IntN(5) {
		case 0:
			if at < len(out) {
				out[at] = byte(r.Uint32())
			}
		case 1:
			out = append(out[:at:at], out[min(len(out), at+1+r.IntN(4)):]...)
		case 2:
			other := seeds[r.IntN(len(seeds))]
			from := r.IntN(len(other))
			out = append(out[:at:at], append(bytes.Clone(other[from:min(len(other), from+1+r.IntN(12))]), out[at:]...)...)
		case 3:
			out = append(out[:at:at], append([]byte{byte(r.Uint32())}, out[at:]...)...)
		case 4:
			if at < len(out) {
				out[at] = []byte{token.ListEmpty, token.List8, token.JIDPair, token.ADJID, token.Binary8, 0, 1, 2, 0xff}[r.IntN(9)]
			}
		}
	}
	return out
}

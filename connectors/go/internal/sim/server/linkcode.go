package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"
	"strings"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/util/gcmutil"
	"go.mau.fi/whatsmeow/util/keys"
	"golang.org/x/crypto/curve25519"

	"wharf/connectors/internal/sim/accounts"
)

const (
	linkTag        = "link_code_companion_reg"
	linkRounds     = 2 << 16
	saltSize       = 32
	ivSize         = 16
	wrappedKeySize = saltSize + ivSize + 32
	gcmNonceSize   = 12
)

// link is a pairing by code: the companion shows eight characters that are typed into the phone.
type link struct {
	phone     string
	ref       []byte
	wrapped   []byte // the companion's ephemeral key, encrypted with the code
	ephemeral *keys.KeyPair
	companion []byte // its ephemeral key, decrypted
	account   *accounts.Account
	signed    chan struct{} // closed when pair-success was sent
	failed    error
}

func (c *conn) onLinkCode(q *query) {
	node := child(q.node, linkTag)
	switch text(node, "stage") {
	case "companion_hello":
		c.linkHello(q, node)
	case "companion_finish":
		c.linkFinish(q, node)
	default:
		q.refuse("400", "bad-request")
	}
}

func (c *conn) linkHello(q *query, node *waBinary.Node) {
	wrapped := childContent(node, "link_code_pairing_wrapped_companion_ephemeral_pub")
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	phone := jid(node, "jid").User
	if c.pairing == nil || len(wrapped) != wrappedKeySize || !accounts.ValidPhone(phone) {
		q.refuse("400", "bad-request")
		return
	}
	c.pairing.link = &link{phone: phone, ref: randomBytes(16), wrapped: wrapped, signed: make(chan struct{})}
	s.links[phone] = c
	q.answer(waBinary.Node{Tag: linkTag, Attrs: waBinary.Attrs{"stage": "companion_hello"},
		Content: []waBinary.Node{{Tag: "link_code_pairing_ref", Content: c.pairing.link.ref}}})
}

// EnterCode is what a phone does with the code that a companion shows.
func (s *Server) EnterCode(ctx context.Context, phone, code string) (types.JID, error) {
	code = strings.ToUpper(strings.ReplaceAll(code, "-", ""))
	s.mu.Lock()
	c := s.links[phone]
	if c == nil || c.pairing.link == nil {
		s.mu.Unlock()
		return types.EmptyJID, ErrNoLink
	}
	l := c.pairing.link
	l.account = s.Accounts.Ensure(phone, "")
	s.mu.Unlock()

	companion, err := linkCipher(code, l.wrapped[:saltSize], l.wrapped[saltSize:saltSize+ivSize], l.wrapped[saltSize+ivSize:])
	if err != nil {
		return types.EmptyJID, err
	}
	salt, iv, ephemeral := randomBytes(saltSize), randomBytes(ivSize), s.newEphemeral()
	primary, err := linkCipher(code, salt, iv, ephemeral.Pub[:])
	if err != nil {
		return types.EmptyJID, err
	}

	s.mu.Lock()
	l.companion, l.ephemeral = companion, ephemeral
	c.send(waBinary.Node{
		Tag:   "notification",
		Attrs: waBinary.Attrs{"from": types.ServerJID, "type": linkTag, "id": "link-code", "t": stamp(s.Now())},
		Content: []waBinary.Node{{Tag: linkTag, Attrs: waBinary.Attrs{"stage": "primary_hello"}, Content: []waBinary.Node{
			{Tag: "link_code_pairing_wrapped_primary_ephemeral_pub", Content: append(append(salt, iv...), primary...)},
			{Tag: "primary_identity_pub", Content: l.account.Key.Pub[:]},
			{Tag: "link_code_pairing_ref", Content: l.ref},
		}}},
	})
	s.mu.Unlock()
	return s.awaitLink(ctx, c, l)
}

func (s *Server) awaitLink(ctx context.Context, c *conn, l *link) (types.JID, error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	select {
	case <-l.signed:
	case <-ctx.Done():
		return types.EmptyJID, ErrPairingSilent
	}
	s.mu.Lock()
	failed, p := l.failed, c.pairing
	s.mu.Unlock()
	if failed != nil {
		return types.EmptyJID, failed
	}
	address := p.account.PN()
	address.Device = p.number
	return address, wait(ctx, p.confirmed)
}

func (c *conn) linkFinish(q *query, node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.pairing == nil || c.pairing.link == nil || c.pairing.link.ephemeral == nil {
		q.refuse("400", "bad-request")
		return
	}
	l := c.pairing.link
	identity := childContent(node, "companion_identity_public")
	secret, err := l.advSecret(identity, childContent(node, "link_code_pairing_wrapped_key_bundle"))
	if err == nil {
		q.answer()
		_, _, err = s.pairSuccess(c, l.account, identity, secret)
	} else {
		q.refuse("400", "bad-request")
	}
	l.failed = err
	l.ephemeral = nil
	delete(s.links, l.phone)
	close(l.signed)
}

// advSecret opens the companion's key bundle, which fails if the code was wrong, and derives the shared secret.
func (l *link) advSecret(identity, bundle []byte) ([]byte, error) {
	if len(identity) != 32 || len(bundle) < saltSize+gcmNonceSize {
		return nil, ErrWrongCode
	}
	shared, err := curve25519.X25519(l.ephemeral.Priv[:], l.companion)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongCode, err)
	}
	key, err := hkdf.Key(sha256.New, shared, bundle[:saltSize], "link_code_pairing_key_bundle_encryption_key", 32)
	if err != nil {
		return nil, err
	}
	aead, err := gcmutil.Prepare(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, bundle[saltSize:saltSize+gcmNonceSize], bundle[saltSize+gcmNonceSize:], nil)
	if err != nil || len(plain) != 96 || string(plain[:32]) != string(identity) {
		return nil, ErrWrongCode
	}
	agreed, err := curve25519.X25519(l.account.Key.Priv[:], identity)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongCode, err)
	}
	input := append(append(append([]byte{}, shared...), agreed...), plain[64:]...)
	return hkdf.Key(sha256.New, input, nil, "adv_secret", 32)
}

func linkCipher(code string, salt, iv, data []byte) ([]byte, error) {
	key, err := pbkdf2.Key(sha256.New, code, salt, linkRounds, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(data))
	cipher.NewCTR(block, iv).XORKeyStream(out, data)
	return out, nil
}

package wire

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"go.mau.fi/whatsmeow/proto/waWa6"
	"go.mau.fi/whatsmeow/socket"
	"go.mau.fi/whatsmeow/util/gcmutil"
	"go.mau.fi/whatsmeow/util/keys"
	"golang.org/x/crypto/curve25519"
	"google.golang.org/protobuf/proto"
)

// keySize is the length of every X25519 key on the wire.
const keySize = 32

// ErrHandshake is wrapped by every refusal of a handshake.
var ErrHandshake = errors.New("noise handshake refused")

// responder is the symmetric state of the answering side of Noise_XX_25519_AESGCM_SHA256.
type responder struct {
	hash, chaining []byte
	aead           cipher.AEAD
	counter        uint32
}

func newResponder(prologue []byte) (*responder, error) {
	start := []byte(socket.NoiseStartPattern)
	aead, err := gcmutil.Prepare(start)
	if err != nil {
		return nil, fmt.Errorf("preparing the first cipher: %w", err)
	}
	r := &responder{hash: start, chaining: start, aead: aead}
	r.authenticate(prologue)
	return r, nil
}

func (r *responder) authenticate(data []byte) {
	digest := sha256.New()
	digest.Write(r.hash)
	digest.Write(data)
	r.hash = digest.Sum(nil)
}

func (r *responder) encrypt(plaintext []byte) []byte {
	ciphertext := r.aead.Seal(nil, nonce(r.counter), plaintext, r.hash)
	r.counter++
	r.authenticate(ciphertext)
	return ciphertext
}

func (r *responder) decrypt(ciphertext []byte) ([]byte, error) {
	plaintext, err := r.aead.Open(nil, nonce(r.counter), ciphertext, r.hash)
	if err != nil {
		return nil, err
	}
	r.counter++
	r.authenticate(ciphertext)
	return plaintext, nil
}

func (r *responder) mix(private *[32]byte, public []byte) error {
	secret, err := curve25519.X25519(private[:], public)
	if err != nil {
		return err
	}
	chaining, key, err := r.expand(secret)
	if err != nil {
		return err
	}
	r.chaining, r.counter = chaining, 0
	r.aead, err = gcmutil.Prepare(key)
	return err
}

func (r *responder) expand(secret []byte) (first, second []byte, err error) {
	out, err := hkdf.Key(sha256.New, secret, r.chaining, "", 2*keySize)
	if err != nil {
		return nil, nil, err
	}
	return out[:keySize], out[keySize:], nil
}

func nonce(counter uint32) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 8, 12), counter)
}

// Cipher encrypts and decrypts the frames after the handshake. Each direction is used by one goroutine at a time.
type Cipher struct {
	read, write           cipher.AEAD
	readCount, writeCount uint32
}

// Open decrypts the next received frame, in place.
func (c *Cipher) Open(frame []byte) ([]byte, error) {
	plaintext, err := c.read.Open(frame[:0], nonce(c.readCount), frame, nil)
	if err != nil {
		return nil, fmt.Errorf("frame %d does not decrypt: %w", c.readCount, err)
	}
	c.readCount++
	return plaintext, nil
}

// Append encrypts a payload as the next frame, with its length prefix, onto dst.
func (c *Cipher) Append(dst, payload []byte) []byte {
	dst = appendLength(dst, len(payload)+c.write.Overhead())
	dst = c.write.Seal(dst, nonce(c.writeCount), payload, nil)
	c.writeCount++
	return dst
}

// Peer is what the handshake told about the client.
type Peer struct {
	NoiseKey [32]byte
	Payload  *waWa6.ClientPayload
}

// Handshake answers a client up to and including its finish message. send writes one frame's payload.
func Handshake(identity *Identity, frames *FrameReader, ephemeral *keys.KeyPair, send func([]byte) error) (*Cipher, *Peer, error) {
	prologue, err := frames.ReadPrologue()
	if err != nil {
		return nil, nil, err
	}
	r, err := newResponder(prologue)
	if err != nil {
		return nil, nil, err
	}
	hello, err := readHandshake(frames)
	if err != nil {
		return nil, nil, err
	}
	reply, err := r.serverHello(identity, ephemeral, hello.GetClientHello().GetEphemeral())
	if err != nil {
		return nil, nil, err
	}
	if err = send(reply); err != nil {
		return nil, nil, err
	}
	finish, err := readHandshake(frames)
	if err != nil {
		return nil, nil, err
	}
	return r.clientFinish(ephemeral, finish.GetClientFinish())
}

func readHandshake(frames *FrameReader) (*waWa6.HandshakeMessage, error) {
	frame, err := frames.Next()
	if err != nil {
		return nil, err
	}
	var message waWa6.HandshakeMessage
	if err = proto.Unmarshal(frame, &message); err != nil {
		return nil, fmt.Errorf("%w: not a handshake message: %w", ErrHandshake, err)
	}
	return &message, nil
}

func (r *responder) serverHello(identity *Identity, ephemeral *keys.KeyPair, client []byte) ([]byte, error) {
	if len(client) != keySize {
		return nil, fmt.Errorf("%w: client ephemeral key has %d bytes", ErrHandshake, len(client))
	}
	r.authenticate(client)
	r.authenticate(ephemeral.Pub[:])
	if err := r.mix(ephemeral.Priv, client); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	static := r.encrypt(identity.static.Pub[:])
	if err := r.mix(identity.static.Priv, client); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return proto.Marshal(&waWa6.HandshakeMessage{ServerHello: &waWa6.HandshakeMessage_ServerHello{
		Ephemeral: ephemeral.Pub[:], Static: static, Payload: r.encrypt(identity.chain),
	}})
}

func (r *responder) clientFinish(ephemeral *keys.KeyPair, finish *waWa6.HandshakeMessage_ClientFinish) (*Cipher, *Peer, error) {
	static, err := r.decrypt(finish.GetStatic())
	if err != nil || len(static) != keySize {
		return nil, nil, fmt.Errorf("%w: client static key does not decrypt", ErrHandshake)
	}
	if err = r.mix(ephemeral.Priv, static); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	raw, err := r.decrypt(finish.GetPayload())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: client payload does not decrypt", ErrHandshake)
	}
	peer := &Peer{NoiseKey: [32]byte(static), Payload: &waWa6.ClientPayload{}}
	if err = proto.Unmarshal(raw, peer.Payload); err != nil {
		return nil, nil, fmt.Errorf("%w: client payload: %w", ErrHandshake, err)
	}
	c, err := r.split()
	return c, peer, err
}

// split ends the handshake. The initiator writes with the first key, so the responder reads with it.
func (r *responder) split() (*Cipher, error) {
	readKey, writeKey, err := r.expand(nil)
	if err != nil {
		return nil, err
	}
	read, err := gcmutil.Prepare(readKey)
	if err != nil {
		return nil, err
	}
	write, err := gcmutil.Prepare(writeKey)
	if err != nil {
		return nil, err
	}
	return &Cipher{read: read, write: write}, nil
}

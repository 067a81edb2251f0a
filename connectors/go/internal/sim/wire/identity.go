package wire

import (
	"fmt"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waCert"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

// certificateLife is how long the chain made at a start is valid; a simulator runs for less.
const certificateLife = 5 * 365 * 24 * time.Hour

// Identity is the server's certificate chain: root, intermediate, and the leaf whose key the handshake uses.
type Identity struct {
	root   *keys.KeyPair
	static *keys.KeyPair
	chain  []byte
}

// NewIdentity signs a fresh intermediate and leaf with the root key, which alone has to stay the same over restarts.
func NewIdentity(rootPrivate [32]byte, now time.Time) (*Identity, error) {
	id := &Identity{root: keys.NewKeyPairFromPrivateKey(rootPrivate), static: keys.NewKeyPair()}
	intermediate := keys.NewKeyPair()
	first, err := certify(id.root, intermediate, 1, whatsmeow.WACertIssuerSerial, now)
	if err != nil {
		return nil, err
	}
	leaf, err := certify(intermediate, id.static, 2, 1, now)
	if err != nil {
		return nil, err
	}
	id.chain, err = proto.Marshal(&waCert.CertChain{Intermediate: first, Leaf: leaf})
	if err != nil {
		return nil, fmt.Errorf("encoding the certificate chain: %w", err)
	}
	return id, nil
}

// RootPublicKey is what clients have to trust instead of WhatsApp's own root.
func (id *Identity) RootPublicKey() [32]byte { return *id.root.Pub }

func certify(signer, subject *keys.KeyPair, serial, issuer uint32, now time.Time) (*waCert.CertChain_NoiseCertificate, error) {
	details, err := proto.Marshal(&waCert.CertChain_NoiseCertificate_Details{
		Serial: &serial, IssuerSerial: &issuer, Key: subject.Pub[:],
		NotBefore: proto.Uint64(uint64(now.Add(-time.Hour).Unix())),
		NotAfter:  proto.Uint64(uint64(now.Add(certificateLife).Unix())),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a certificate: %w", err)
	}
	signature := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*signer.Priv), details)
	return &waCert.CertChain_NoiseCertificate{Details: details, Signature: signature[:]}, nil
}

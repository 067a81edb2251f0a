package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"go.mau.fi/whatsmeow/util/keys"

	"wharf/connectors/internal/sim/database"
)

// What clients trust stays the same over restarts: the root of the Noise certificates and the TLS authority.
const (
	bucketIdentity = "identity"
	keyRoot        = "root"
	keyAuthority   = "tls_authority"
	keyAuthorityKP = "tls_authority_key"
	authorityLife  = 10 * 365 * 24 * time.Hour
	leafLife       = 365 * 24 * time.Hour
)

// realHosts are the names under which unchanged clients look for the service.
var realHosts = []string{"localhost", "web.whatsapp.com", "mmg.whatsapp.net", "*.whatsapp.net", "*.cdn.whatsapp.net"}

func readIdentity(db *database.Database) (map[string][]byte, error) {
	kept := map[string][]byte{}
	return kept, db.Each(bucketIdentity, func(key string, value []byte) error { kept[key] = value; return nil })
}

func loadRoot(db *database.Database) ([32]byte, error) {
	kept, err := readIdentity(db)
	if err != nil {
		return [32]byte{}, err
	}
	if value := kept[keyRoot]; len(value) == 32 {
		return [32]byte(value), nil
	}
	fresh := *keys.NewKeyPair().Priv
	db.Put(bucketIdentity, keyRoot, fresh[:])
	return fresh, nil
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func loadAuthority(db *database.Database, now time.Time) (*authority, error) {
	kept, err := readIdentity(db)
	if err != nil {
		return nil, err
	}
	if kept[keyAuthority] == nil {
		return newAuthority(db, now)
	}
	a := &authority{}
	if a.certificate, err = x509.ParseCertificate(kept[keyAuthority]); err != nil {
		return nil, fmt.Errorf("kept TLS authority: %w", err)
	}
	if a.key, err = x509.ParseECPrivateKey(kept[keyAuthorityKP]); err != nil {
		return nil, fmt.Errorf("kept key of the TLS authority: %w", err)
	}
	return a, nil
}

func newAuthority(db *database.Database, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "wharf simulator authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	db.Put(bucketIdentity, keyAuthority, der)
	db.Put(bucketIdentity, keyAuthorityKP, private)
	return &authority{certificate, key}, nil
}

// issue makes the certificate of the TLS listener.
func (a *authority) issue(host string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "wharf simulator"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife), DNSNames: realHosts,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key}, nil
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

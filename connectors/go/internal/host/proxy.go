package host

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// A session's proxy. Everything of the session goes through it, the simulator included; a proxy that cannot be used is an
// error of the connection, never a reason to go around it.

const proxyTime = 20 * time.Second

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialThrough gives the dialer of a session: direct without a proxy, else by CONNECT or SOCKS5. Errors do not tell the
// address: it may hold a password.
func dialThrough(address string, direct *net.Dialer) dialFunc {
	if address == "" {
		return direct.DialContext
	}
	dial, err := proxyDialer(address, direct)
	if err != nil {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, proxyTime)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		return conn, nil
	}
}

func proxyDialer(address string, direct *net.Dialer) (dialFunc, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("proxy: malformed URL")
	}
	switch u.Scheme {
	case "http", "https":
		return connectThrough(u, direct), nil
	case "socks5", "socks5h":
		d, err := proxy.FromURL(u, direct)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		cd, ok := d.(proxy.ContextDialer)
		if !ok {
			return nil, errors.New("proxy: no context dialer")
		}
		return cd.DialContext, nil
	}
	return nil, fmt.Errorf("proxy: unsupported scheme %q", u.Scheme)
}

// connectThrough asks an HTTP proxy for a tunnel.
func connectThrough(u *url.URL, direct *net.Dialer) dialFunc {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		conn, err := dialProxy(ctx, u, direct)
		if err != nil {
			return nil, err
		}
		if deadline, ok := ctx.Deadline(); ok {
			err = conn.SetDeadline(deadline)
		}
		if err == nil {
			conn, err = tunnel(conn, u, addr)
		}
		if err == nil {
			err = conn.SetDeadline(time.Time{})
		}
		if err != nil {
			_ = conn.Close() // of no use
			return nil, err
		}
		return conn, nil
	}
}

func dialProxy(ctx context.Context, u *url.URL, direct *net.Dialer) (net.Conn, error) {
	port := u.Port()
	if u.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		d := tls.Dialer{NetDialer: direct, Config: &tls.Config{ServerName: u.Hostname()}}
		return d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	}
	if port == "" {
		port = "80"
	}
	return direct.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
}

// tunnel gives the connection behind a proxy's answer, or the one it got with an error.
func tunnel(conn net.Conn, u *url.URL, addr string) (net.Conn, error) {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u.User != nil {
		password, _ := u.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		request.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := request.Write(conn); err != nil {
		return conn, err
	}
	buffered := bufio.NewReader(conn)
	answer, err := http.ReadResponse(buffered, request)
	if err != nil {
		return conn, err
	}
	if answer.StatusCode != http.StatusOK {
		return conn, fmt.Errorf("refused: %s", answer.Status)
	}
	return &readAhead{conn, buffered}, nil
}

// readAhead keeps what was read beyond the proxy's answer.
type readAhead struct {
	net.Conn
	reader *bufio.Reader
}

func (r *readAhead) Read(b []byte) (int, error) { return r.reader.Read(b) }

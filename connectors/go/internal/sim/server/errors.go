package server

import "errors"

// What can go wrong for the control API's caller.
var (
	ErrQRText         = errors.New("the QR text is not `ref,noise,identity,adv-secret`, with or without the wa.me address before it")
	ErrQRUnknown      = errors.New("no connection shows this QR code: it was used, has expired, or its client is gone; ask for a new one")
	ErrPairingBusy    = errors.New("this connection is being paired already")
	ErrPairingRefused = errors.New("the companion refused the pairing; its log tells why")
	ErrPairingSilent  = errors.New("the companion did not confirm the pairing in time")
	ErrPairingGone    = errors.New("the companion's connection ended during the pairing")
	ErrNoLink         = errors.New("no companion asked for a code for this phone; start pairing by code first")
	ErrWrongCode      = errors.New("the code does not match the one that the companion shows")
	ErrUnknownPhone   = errors.New("no such phone; create it with POST /v1/phones")
	ErrUnknownDevice  = errors.New("the phone has no such device; GET /v1/phones lists them")
)

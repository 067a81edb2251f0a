// Package hostpb holds the generated code of proto/host.proto, the protocol between connector and session host.
package hostpb

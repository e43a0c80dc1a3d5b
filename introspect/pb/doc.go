// Package pb holds the messages of the introspection protocol, generated from
// introspect.proto.
//
// `go generate ./introspect/pb` needs only Go.
package pb

//go:generate sh -c "cd gen && go run ."

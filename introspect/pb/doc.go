// Package pb holds the messages of the introspection protocol, generated from
// introspect.proto.
//
// `go generate ./introspect/pb` needs protoc 3 and protoc-gen-go v1.36.11 in the
// PATH.
package pb

//go:generate sh -c "cd ../.. && protoc --go_out=. --go_opt=paths=source_relative introspect/pb/introspect.proto"

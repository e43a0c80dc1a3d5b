// Package stack runs the containers of docker-compose.yml on a Docker engine of
// its own, and nginx before real servers. Build tag stack; make check-stack, as
// root.
package stack

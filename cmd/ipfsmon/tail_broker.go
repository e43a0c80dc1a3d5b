package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ipfsmon/ipfsmon/broker"
	"github.com/ipfsmon/ipfsmon/stream"
)

// followBroker is follow for what the monitors of a broker send from now on.
func followBroker(ctx context.Context, o stream.Options, address string, once bool, each func(*stream.Event) error) error {
	switch {
	case o.Encoding != "":
		return errors.New("--encoding is for a monitor's stream: want none with a broker")
	case o.TLS != nil && (strings.HasPrefix(address, "amqp://") || o.TLS.ServerName != ""):
		return errors.New("--tls and --tls-name are for a monitor's stream: want an address that begins with amqps://, whose host is the certificate's")
	}
	wanted, err := o.Filter.Matcher()
	if err != nil {
		return err
	}
	cfg := broker.ConsumerConfig{Server: broker.Server{Address: address, PasswordFunc: o.TokenFunc}, Name: "ipfsmon tail"}
	if o.TLS != nil {
		cfg.Roots = o.TLS.RootCAs
	}
	if o.Version == 3 {
		cfg.Formats = []string{broker.V3}
	}
	cfg.Retry = func(why error, wait time.Duration) error {
		if once {
			return why
		}
		fmt.Fprintf(os.Stderr, "ipfsmon: %v; retrying in %v; events until then are missed\n", shown(why), wait.Round(100*time.Millisecond))
		return nil
	}
	err = broker.Consume(ctx, cfg, func(d *broker.Delivery) error {
		for i := range d.Events {
			if e := &d.Events[i]; e.Gap != nil || wanted(e) {
				if err := each(e); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

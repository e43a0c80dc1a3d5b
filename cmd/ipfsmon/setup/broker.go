package setup

import "fmt"

// broker makes RabbitMQ's configuration, with its one user, whom it creates at its first start.
func (f folder) broker() error {
	password, err := f.read(BrokerPassword)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("default_user = %s\ndefault_pass = %s\nloopback_users = none\n", brokerUser, password)
	if have, err := f.read(BrokerConfig); err == nil && have+"\n" == want {
		return nil
	}
	return f.write(BrokerConfig, want)
}

// Package packages installs, starts, upgrades and removes the packages in a Debian that debootstrap
// makes, with its own systemd. Build tag packages; make check-packages, as root.
package packages

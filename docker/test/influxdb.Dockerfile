# InfluxDB 2 as its image has it: the user, the folders, the two programs' names.
# The context is a folder with influxd, which test/influxdb/build.sh makes.
ARG BASE
FROM ${BASE}
COPY influxd /usr/local/bin/influxd
COPY influx /usr/local/bin/influx
RUN useradd -u 1000 -m influxdb && mkdir -p /var/lib/influxdb2 /etc/influxdb2 && chown influxdb /var/lib/influxdb2 /etc/influxdb2
VOLUME /var/lib/influxdb2 /etc/influxdb2
EXPOSE 8086
ENTRYPOINT ["influxd"]

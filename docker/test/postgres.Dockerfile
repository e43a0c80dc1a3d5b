# PostgreSQL as its image has it: the user's number, the folders, the variables
# of its first start. The context is docker/test.
ARG BASE
FROM ${BASE}
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
RUN usermod -u 70 postgres && groupmod -g 70 postgres && ln -s /usr/lib/postgresql/*/bin /usr/local/postgresql && \
    install -d -o 70 -g 70 -m 0700 /var/lib/postgresql /var/lib/postgresql/data && install -d -o 70 -g 70 -m 3777 /var/run/postgresql
ENV PATH=/usr/local/postgresql:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]

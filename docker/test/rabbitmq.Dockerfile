# RabbitMQ as its image has it: the numbers of the user and the group, the folder, the programs'
# names.
ARG BASE
FROM ${BASE}
RUN usermod -o -u 100 rabbitmq && groupmod -o -g 101 rabbitmq && chown -R 100:101 /var/lib/rabbitmq && chmod 1777 /var/log/rabbitmq
ENV PATH=/usr/lib/rabbitmq/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/var/lib/rabbitmq
VOLUME /var/lib/rabbitmq
EXPOSE 5672
CMD ["rabbitmq-server"]

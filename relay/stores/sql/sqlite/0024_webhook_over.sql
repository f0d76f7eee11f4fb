-- What is sent or dead is dropped by age, every hour, out of however many wait.
CREATE INDEX webhook_delivery_over ON webhook_delivery (state, at) WHERE state <> 'waiting';

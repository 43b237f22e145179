create table t (i int);
create table victim (i int);
alter table t owner to interceptor;
alter table victim owner to interceptor;

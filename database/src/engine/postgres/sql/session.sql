-- Every statement here has an index, which the planner of a small or never analysed table does not believe.
SET search_path = {schema};
SET default_transaction_isolation = 'read committed';
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SET statement_timeout = '4s';
SET lock_timeout = '2s';
-- A partner that is gone must not keep the counter locked.
SET idle_in_transaction_session_timeout = '5s';
-- Stronger is left as it is.
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                  WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);

%% Starts RabbitMQ with its code loaded all at once; file:script/1 runs this in the node's shell.
%%
%% The node needs nine hundred modules. Found and loaded one by one, as they are called, each is
%% looked for in a hundred folders and makes Erlang copy its tables of code: that is more than half
%% of the work of a start. Where anything goes wrong here, they are loaded as ever.

Read = fun(App) ->
    {ok, [{application, App, Keys}]} =
        file:consult(code:where_is_file(atom_to_list(App) ++ ".app")),
    {proplists:get_value(applications, Keys, []), proplists:get_value(modules, Keys, [])}
end,
Needed = fun
    Needed([], Found) -> Found;
    Needed([App | More], Found) when is_map_key(App, Found) -> Needed(More, Found);
    Needed([App | More], Found) ->
        {Apps, Modules} = Read(App),
        Needed(Apps ++ More, Found#{App => Modules})
end,
Folder = fun(App) -> code:lib_dir(App, ebin) end,
%% The folders of these are "sticky": their modules are loaded by name only.
Sticky = [kernel, stdlib, compiler],
%% These run code as they are loaded, which the others must not.
Single = [asn1rt_nif, crypto, pubkey_os_cacerts, rabbit_feature_flags],
Load = fun() ->
    Found = Needed([rabbit], #{}),
    code:add_pathsa([Folder(App) || App <- Sticky]),
    code:ensure_modules_loaded(lists:append(maps:values(maps:with(Sticky, Found)))),
    Files = [
        {Module, filename:join(Folder(App), atom_to_list(Module) ++ ".beam")}
     || {App, Modules} <- maps:to_list(maps:without(Sticky, Found)),
        Module <- Modules -- Single,
        code:is_loaded(Module) =:= false
    ],
    Codes = [{Module, File, Code} || {Module, File} <- Files, {ok, Code} <- [file:read_file(File)]],
    {ok, Prepared} = code:prepare_loading(Codes),
    ok = code:finish_loading(Prepared)
end,
catch Load(),
try rabbit:boot()
catch _:Reason -> io:format("~tp~n", [Reason]), halt(1)
end.
